#include "base/file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

// Limits the size of files this process may write, which stands in for a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST(WriteFileAtomically, ReplacesTheContent) {
  TempDir dir;
  WriteFileAtomically(dir.File("a"), "one");
  WriteFileAtomically(dir.File("a"), "two");
  EXPECT_EQ(ReadFile(dir.File("a")), "two");
  EXPECT_EQ(ListDir(dir.path()), std::vector<std::string>{"a"});
}

TEST(WriteFileAtomically, KeepsTheOldContentWhenTheDiskIsFull) {
  TempDir dir;
  WriteFileAtomically(dir.File("a"), "old");
  std::string error;
  {
    FileSizeLimit limit(4096);
    error = ErrorOf([&] { WriteFileAtomically(dir.File("a"), std::string(100000, 'x')); });
  }
  EXPECT_EQ(error.substr(0, 2), "4:") << error;
  EXPECT_NE(error.find("cannot write"), std::string::npos) << error;
  EXPECT_EQ(ReadFile(dir.File("a")), "old");
  EXPECT_EQ(ListDir(dir.path()), std::vector<std::string>{"a"});
}

TEST(WriteFileAtomically, FollowsLinksAndLeavesDevices) {
  const TempDir dir;
  WriteFileAtomically(dir.File("real"), "old");
  ASSERT_EQ(::symlink("real", dir.File("link").c_str()), 0);
  WriteFileAtomically(dir.File("link"), "new");
  EXPECT_EQ(ReadFile(dir.File("real")), "new");
  struct stat info {};
  ASSERT_EQ(::lstat(dir.File("link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));

  const std::string pipe = dir.File("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = ReadFile(pipe); });
  WriteFileAtomically(pipe, "through");
  reader.join();
  EXPECT_EQ(read, "through");
  ASSERT_EQ(::stat(pipe.c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST(CheckWritable, NamesWhatIsInTheWay) {
  const TempDir dir;
  CheckWritable(dir.File("new"));
  WriteFileAtomically(dir.File("there"), "");
  CheckWritable(dir.File("there"));
  EXPECT_THAT(ErrorOf([&] { CheckWritable(dir.path()); }), HasSubstr("Is a directory"));
  EXPECT_THAT(ErrorOf([&] { CheckWritable(dir.File("none/new")); }),
              HasSubstr("none/new: cannot write: No such file"));
}

TEST(ReadFile, SaysWhatIsMissing) {
  EXPECT_EQ(ErrorOf([] { ReadFile("/nowhere/x"); }),
            "4: /nowhere/x: cannot open: No such file or directory");
}

TEST(ReadFile, KeepsTheLimit) {
  TempDir dir;
  WriteFileAtomically(dir.File("a"), "12345");
  EXPECT_EQ(ReadFile(dir.File("a"), 5), "12345");
  EXPECT_NE(ErrorOf([&] { ReadFile(dir.File("a"), 4); }), "");
}

TEST(FileWriter, AppendsAfterWhatIsThere) {
  TempDir dir;
  WriteFileAtomically(dir.File("a"), "one ");
  FileWriter writer(dir.File("a"), FileWriter::Mode::kAppend);
  writer.Write("two");
  writer.Close();
  EXPECT_EQ(ReadFile(dir.File("a")), "one two");
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  TempDir dir;
  WriteFileAtomically(dir.File("a"), "bytes");
  WriteFileAtomically(dir.File("empty"), "");
  const MappedFile file(dir.File("a"));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.data()), file.size()), "bytes");
  EXPECT_EQ(MappedFile(dir.File("empty")).size(), 0u);
}

}  // namespace
}  // namespace ckv
