#include "app/bench_conic.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>

#include "base/file.h"
#include "base/str.h"
#include "conic/problems.h"
#include "conic/score.h"

namespace ckv {
namespace {

// A field of /proc/self/status in bytes; 0 if it is not there.
double StatusBytes(const std::string& field) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, field.size() + 1, field + ":") == 0) {
      return std::stod(line.substr(field.size() + 1)) * 1024.0;
    }
  }
  return 0.0;
}

ConicBenchRow Measure(const std::string& name, int64_t questions, double limit,
                      const std::function<bool()>& run) {
  ConicBenchRow row;
  row.name = name;
  row.questions = questions;
  row.limit_seconds = limit;
  // Sets the peak back to what is resident.
  std::ofstream("/proc/self/clear_refs") << "5";
  const double before = StatusBytes("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  row.truncated = run();
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  row.memory_bytes = std::max(0.0, StatusBytes("VmHWM") - before);
  return row;
}

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

struct MadeInput {
  std::string name;
  std::string gold;
  std::string predicted;
};

// Twelve points in many statements, under other names, once the same and once with some changed.
std::vector<MadeInput> RenamedInputs() {
  const std::string letters = "ABCDEFGHIJKL";
  const std::string other = "MNPQRSTUVWXY";
  const auto make = [&](const std::string& names, int step, int changed) {
    std::string text;
    const auto n = names.size();
    for (const char name : names) text += Str(name, ": Point;");
    for (size_t i = 0; i < n; ++i) {
      const size_t next = (i + 1) % n;
      const size_t far = (i + static_cast<size_t>(step)) % n;
      const bool other_way = static_cast<int>(i) < changed;
      text += Str("Distance(", names[i], ", ", names[other_way ? far : next], ") = 1;");
      text += Str("IsPerpendicular(LineOf(", names[i], ", ", names[far], "), l);");
    }
    return text;
  };
  return {{"12 renamed names", make(letters, 5, 0), make(other, 5, 0)},
          {"12 renamed names, 3 of 24 statements changed", make(letters, 5, 0), make(other, 5, 3)},
          {"12 renamed names, another pattern", make(letters, 5, 0), make(other, 4, 2)}};
}

std::vector<MadeInput> HostileInputs() {
  const std::string gold =
      "G: Ellipse;F1: Point;F2: Point;Focus(G) = {F1, F2};Eccentricity(G) = 1/2;Expression(G) = ?";
  std::string names;
  for (int i = 0; i < 3000; ++i) names += Str("P", i, ": Point;f(P", i, ");");
  std::string statements = "G: Ellipse;";
  for (int i = 0; i < 100000; ++i) statements += Str("Eccentricity(G) = ", i, "/7;");
  const std::string long_name(100000, 'x');
  return {{"10^6 brackets", gold, std::string(1000000, '(')},
          {"brackets 10^5 deep", gold, std::string(100000, '(') + "1" + std::string(100000, ')')},
          {"9^9^9^9", gold, "Eccentricity(G) = 9^9^9^9;x = 10^(10^(10^10))"},
          {"3,000 declared names", gold, names},
          {"3,000 declared names on both sides", names, names},
          {"10^5 statements", gold, statements},
          {"10^5 statements on both sides", statements, statements},
          {"invalid UTF-8", gold, Repeat("\xff\xfeG: Ell\xc3ipse;\xc3(", 1000)},
          {"a NUL byte", gold, std::string("G: Ellipse;Focus(G)\0 = 1", 24)},
          {"a name of 10^5 characters", gold, long_name + ": Point;f(" + long_name + ")"}};
}

}  // namespace

std::vector<ConicBenchRow> BenchConic(const std::vector<std::string>& data_files) {
  std::vector<ConicBenchRow> rows;
  for (const std::string& path : data_files) {
    const std::vector<conic::Problem> problems = conic::ReadProblems(path);
    for (const bool spaced : {false, true}) {
      std::vector<std::string> texts;
      for (const conic::Problem& problem : problems) {
        texts.push_back(conic::StatementString(problem));
        if (spaced) texts.back() = conic::Spaced(texts.back());
      }
      rows.push_back(Measure(
          Str(BaseName(path), " against itself", spaced ? ", spaced" : ""),
          static_cast<int64_t>(texts.size()), 1.0, [&] {
            bool truncated = false;
            for (const std::string& text : texts) {
              truncated =
                  conic::ScoreQuestion(text, text, conic::Mode::kCompat).truncated || truncated;
            }
            return truncated;
          }));
    }
  }
  std::vector<MadeInput> inputs = RenamedInputs();
  for (MadeInput& input : HostileInputs()) inputs.push_back(std::move(input));
  for (const MadeInput& input : inputs) {
    rows.push_back(Measure(input.name, 1, 1.0, [&] {
      return conic::ScoreQuestion(input.gold, input.predicted, conic::Mode::kCompat).truncated;
    }));
  }
  return rows;
}

}  // namespace ckv
