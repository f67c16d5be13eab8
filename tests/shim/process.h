// Starts a program with exactly the environment it is given and collects what it writes. Every wait is bounded.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace kiboko::shim_test {

using Environment = std::map<std::string, std::string>;

struct Ended {
  int exit_code = -1;  // 128 + signal if it was killed; 124 if it had to be, after two minutes
  std::string out, err;
};

struct Start {
  std::vector<std::string> command;  // looked up in PATH
  Environment environment;
  bool standard_files = true;  // false: the program starts with 0, 1 and 2 closed
  unsigned uid = 0;            // not 0: the program runs as this user
};

class Process {
 public:
  explicit Process(const Start& start);
  ~Process();
  Process(Process&& other) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  Process& operator=(Process&&) = delete;

  pid_t pid() const { return pid_; }
  void write_line(const std::string& line);
  // The next whole line of its standard output that was not asked for yet; "" at the end or after that time.
  std::string read_line(int limit_ms = 60'000);
  Ended wait();
  // What came from its standard error so far.
  const std::string& errors() const { return err_text_; }

 private:
  bool pump(int timeout_ms);  // false when both pipes are at their end
  void read_from(int& fd, std::string& into);

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string out_text_, err_text_;
  std::size_t lines_read_ = 0;  // bytes of out_text_ that read_line has given out
};

Ended run(const Start& start);

std::vector<std::string> lines_of(const std::string& text);

}  // namespace kiboko::shim_test
