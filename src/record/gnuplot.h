// Runs gnuplot as a child process, without a shell.
#pragma once

#include <string>

namespace ckv {

// What gnuplot is given: files of a folder of its own, named "plot.dat" and "picture<ending>".
struct GnuplotJob {
  std::string program;  // a name on PATH, or a path
  std::string script;   // reads "./plot.dat", sets its output to "./picture.svg" or ".png"
  std::string data;
  std::string ending;  // ".svg" or ".png"
};

// The picture's bytes. Throws ConfigError if the program is not installed and IoError with
// gnuplot's last words if it fails; `out` is for that message.
std::string RunGnuplot(const GnuplotJob& job, const std::string& out);

// `text` in gnuplot's single quotes, where nothing but the quote itself is special. Control
// characters, which would end the line, become spaces.
std::string GnuplotQuoted(const std::string& text);

}  // namespace ckv
