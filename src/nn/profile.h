// A trace of what host and device do, for chrome://tracing or Perfetto.
#pragma once

#include <string>

#include <c10/core/Device.h>

namespace ckv {

// Records from its construction on, the device's kernels included. One at a time.
class Profile {
 public:
  explicit Profile(const at::Device& device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;

  // Ends the record and writes it. Throws IoError. Once.
  void Write(const std::string& path);

 private:
  at::Device device_;
  bool running_ = true;
};

}  // namespace ckv
