#include "record/metrics.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "record/names.h"
#include "record/tensorboard.h"

namespace ckv {
namespace {

// The shortest text that reads back as `value`; whole numbers without point and exponent.
std::string NumberText(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  constexpr double kExactIntegers = 9007199254740992.0;  // 2^53
  const bool whole = std::fabs(value) < kExactIntegers && value == std::floor(value);
  return whole ? std::to_string(static_cast<int64_t>(value)) : Json(value).dump();
}

std::optional<double> NonFinite(const std::string& text) {
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

// A text file whose last line can be replaced. Each line is one write, so that a process that dies
// leaves at most the last line incomplete.
class LineFile {
 public:
  explicit LineFile(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw IoError(path, "cannot open for writing", errno);
    end_ = static_cast<off_t>(FileSize(path));
    last_ = end_;
  }
  ~LineFile() { ::close(fd_); }
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  // Says where the last line that the file already holds begins.
  void SetLastLineSize(size_t size) { last_ = end_ - static_cast<off_t>(size); }

  void Append(const std::string& line) {
    last_ = end_;
    const std::string text = line + "\n";
    for (size_t done = 0; done < text.size();) {
      const ssize_t put =
          ::pwrite(fd_, text.data() + done, text.size() - done, end_ + static_cast<off_t>(done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) {
        const int error = errno;
        // Half a line must not stand before the next one.
        if (::ftruncate(fd_, end_) != 0) throw IoError(path_, "cannot cut back", errno);
        throw IoError(path_, "cannot write", error);
      }
      done += static_cast<size_t>(put);
    }
    end_ += static_cast<off_t>(text.size());
  }

  void ReplaceLast(const std::string& line) {
    if (::ftruncate(fd_, last_) != 0) throw IoError(path_, "cannot cut back", errno);
    end_ = last_;
    Append(line);
  }

  void Sync() {
    if (::fsync(fd_) != 0) throw IoError(path_, "cannot sync", errno);
  }

 private:
  std::string path_;
  int fd_ = -1;
  off_t end_ = 0;
  off_t last_ = 0;
};

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string CsvHeader(const std::vector<std::string>& columns) {
  std::string line = kMetricStep;
  for (const std::string& column : columns) line += "," + CsvCell(column);
  return line;
}

std::string CsvLine(const std::vector<std::string>& columns, const MetricRow& row) {
  std::string line = std::to_string(row.step());
  for (const std::string& column : columns) {
    line += ",";
    if (const std::optional<double> value = row.Find(column)) line += NumberText(*value);
  }
  return line;
}

// Adds the row's metrics that `columns` lacks; returns whether there were any.
bool AddColumns(const MetricRow& row, std::vector<std::string>& columns) {
  const size_t before = columns.size();
  for (const MetricRow::Value& value : row.values()) {
    bool known = false;
    for (const std::string& column : columns) known = known || column == value.first;
    if (!known) columns.push_back(value.first);
  }
  return columns.size() > before;
}

// metrics.csv: a view of metrics.jsonl that can be made anew from it at any time.
class CsvTable {
 public:
  CsvTable(const std::string& path, const std::vector<MetricRow>& rows) : path_(path) {
    Rewrite(rows);
  }

  // `replace`: the row stands for the last one. `all_rows` is asked for when a column is new.
  template <typename AllRows>
  void Write(const MetricRow& row, bool replace, AllRows&& all_rows) {
    std::vector<std::string> columns = columns_;
    if (AddColumns(row, columns)) {
      Rewrite(all_rows());
    } else if (replace) {
      file_->ReplaceLast(CsvLine(columns_, row));
    } else {
      file_->Append(CsvLine(columns_, row));
    }
  }

  void Sync() { file_->Sync(); }

 private:
  void Rewrite(const std::vector<MetricRow>& rows) {
    std::vector<std::string> columns;
    for (const MetricRow& row : rows) AddColumns(row, columns);
    std::string text = CsvHeader(columns) + "\n";
    size_t last_size = 0;
    for (const MetricRow& row : rows) {
      const std::string line = CsvLine(columns, row) + "\n";
      last_size = line.size();
      text += line;
    }
    WriteFileAtomically(path_, text);
    file_ = std::make_unique<LineFile>(path_);
    file_->SetLastLineSize(last_size);
    columns_ = columns;
  }

  std::string path_;
  std::vector<std::string> columns_;
  std::unique_ptr<LineFile> file_;
};

}  // namespace

void MetricRow::Set(const std::string& name, double value) {
  CKV_CHECK(name != kMetricStep, "the step is given to the row's constructor");
  for (Value& old : values_) {
    if (old.first == name) {
      old.second = value;
      return;
    }
  }
  values_.emplace_back(name, value);
}

std::optional<double> MetricRow::Find(const std::string& name) const {
  for (const Value& value : values_) {
    if (value.first == name) return value.second;
  }
  return std::nullopt;
}

std::string FormatMetricRow(const MetricRow& row) {
  std::string line = Str("{\"", kMetricStep, "\":", row.step());
  for (const auto& [name, value] : row.values()) {
    const std::string text = NumberText(value);
    line += "," + Json(name).dump() + ":" + (std::isfinite(value) ? text : "\"" + text + "\"");
  }
  return line + "}";
}

MetricRow ParseMetricRow(const std::string& line, const std::string& path,
                         const std::string& where) {
  const OrderedJson object = OrderedJson::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) throw FormatError(path, where, "is not a JSON object");
  const auto step = object.find(kMetricStep);
  if (step == object.end() || !step->is_number_integer() || *step < 0) {
    throw FormatError(path, where, "has no 'step' that is an integer from 0");
  }
  MetricRow row(step->get<int64_t>());
  for (const auto& [name, value] : object.items()) {
    if (name == kMetricStep) continue;
    const std::optional<double> number =
        value.is_number()   ? std::optional<double>(value.get<double>())
        : value.is_string() ? NonFinite(value.get_ref<const std::string&>())
                            : std::nullopt;
    if (!number) throw FormatError(path, where, Str("'", name, "' is not a number"));
    row.Set(name, *number);
  }
  return row;
}

std::vector<MetricRow> ReadMetrics(const std::string& path) {
  std::vector<MetricRow> rows;
  if (!FileExists(path)) return rows;
  const std::string text = ReadFile(path, std::numeric_limits<uint64_t>::max());
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t feed = text.find('\n', begin);
    const bool complete = feed != std::string::npos;
    const size_t end = complete ? feed : text.size();
    const std::string line = text.substr(begin, end - begin);
    ++number;
    begin = end + 1;
    try {
      if (!line.empty()) rows.push_back(ParseMetricRow(line, path, Str("line ", number)));
    } catch (const FormatError&) {
      if (complete) throw;
    }
  }
  return rows;
}

struct MetricSink::Files {
  std::string jsonl_path;
  std::unique_ptr<LineFile> jsonl;
  std::unique_ptr<CsvTable> csv;
  std::unique_ptr<EventFileWriter> events;
  std::optional<MetricRow> last;
};

MetricSink::MetricSink(const std::string& run_dir, int64_t resume_step,
                       const MetricSinkOptions& options)
    : files_(std::make_unique<Files>()) {
  CKV_CHECK(resume_step >= 0, "resume at step ", resume_step);
  files_->jsonl_path = JoinPath(run_dir, "metrics.jsonl");
  std::vector<MetricRow> rows;
  std::string text;
  std::string last_line;
  for (MetricRow& row : ReadMetrics(files_->jsonl_path)) {
    if (row.step() > resume_step) continue;
    last_line = FormatMetricRow(row) + "\n";
    text += last_line;
    rows.push_back(std::move(row));
  }
  if (!rows.empty()) files_->last = rows.back();
  WriteFileAtomically(files_->jsonl_path, text);
  files_->jsonl = std::make_unique<LineFile>(files_->jsonl_path);
  files_->jsonl->SetLastLineSize(last_line.size());

  if (options.csv) {
    files_->csv = std::make_unique<CsvTable>(JoinPath(run_dir, "metrics.csv"), rows);
  }
  if (options.tensorboard) {
    const std::string folder = JoinPath(run_dir, "tensorboard");
    // An earlier process may have come beyond its last checkpoint.
    const bool again = IsDirectory(folder) && !ListDir(folder).empty();
    files_->events = std::make_unique<EventFileWriter>(
        folder, again ? std::optional<int64_t>(resume_step + 1) : std::nullopt);
  }
}

MetricSink::~MetricSink() = default;

void MetricSink::Write(const MetricRow& row) {
  const bool merge = files_->last && files_->last->step() == row.step();
  CKV_CHECK(!files_->last || row.step() >= files_->last->step(), "metrics of step ", row.step(),
            " after those of step ", files_->last->step());
  MetricRow whole = merge ? *files_->last : MetricRow(row.step());
  for (const auto& [name, value] : row.values()) whole.Set(name, value);

  if (merge) {
    files_->jsonl->ReplaceLast(FormatMetricRow(whole));
  } else {
    files_->jsonl->Append(FormatMetricRow(whole));
  }
  files_->last = whole;
  if (files_->csv != nullptr) {
    files_->csv->Write(whole, merge, [this] { return ReadMetrics(files_->jsonl_path); });
  }
  if (files_->events != nullptr) {
    files_->events->AddScalars(row.step(), row.values());
    files_->events->Flush();
  }
}

void MetricSink::Sync() {
  files_->jsonl->Sync();
  if (files_->csv != nullptr) files_->csv->Sync();
}

}  // namespace ckv
