/** A file that is read by its offsets, by any number of threads. */
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace siltstone {

class File {
 public:
  explicit File(const std::string& path) : path_(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat about;
    if (descriptor_ < 0 || fstat(descriptor_, &about) != 0) throw std::runtime_error("cannot open " + path);
    bytes_ = static_cast<size_t>(about.st_size);
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  size_t bytes() const { return bytes_; }

  void read(void* to, size_t bytes, size_t at) const {
    for (char* next = static_cast<char*>(to); bytes > 0;) {
      const ssize_t got = pread(descriptor_, next, bytes, static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail(got == 0 ? "ends early" : "cannot be read");
      next += got;
      at += static_cast<size_t>(got);
      bytes -= static_cast<size_t>(got);
    }
  }

  [[noreturn]] void fail(const std::string& what) const { throw std::runtime_error(path_ + " " + what); }

 private:
  std::string path_;
  int descriptor_;
  size_t bytes_ = 0;
};

}  // namespace siltstone
