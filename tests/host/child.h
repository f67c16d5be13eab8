// A program under test: started with exactly what it is given, spoken to by lines, and always brought to an end.
//
// The test program is a subreaper: whatever a program leaves behind becomes its child, and end_all_descendants() finds
// it. Every wait is bounded.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace kiboko::host_test {

using Environment = std::map<std::string, std::string>;
using Words = std::vector<std::string>;

struct Start {
  Words command;  // the program by its path
  Environment environment;
  std::string directory = {};
  std::string standard_error = {};  // a file; otherwise it is collected
  uid_t uid = 0;                    // not 0: as this user, without groups
  bool standard_files = true;       // false: 0, 1 and 2 are closed
};

struct Ended {
  int status = 0;  // as waitpid gives it
  std::string out, err;
  int exit_code() const;  // 128 + signal if a signal ended it
};

class Child {
 public:
  explicit Child(const Start& start);
  Child(Child&& other) noexcept { *this = std::move(other); }
  Child& operator=(Child&& other) noexcept;
  ~Child();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool ended();
  void write_line(const std::string& line);
  std::string read_line();                    // "" at the end, or after a minute
  std::string ask(const std::string& line);   // both
  Ended wait(const std::string& input = {});  // writes the input, closes it, waits two minutes at most
  std::string errors();                       // what it wrote to standard error up to now

 private:
  bool pump(int timeout_ms);  // false when there is nothing to come
  void close_input();

  pid_t pid_ = -1;
  int status_ = 0;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string out_text_, err_text_;
  std::size_t taken_ = 0;  // bytes of out_text_ that read_line() gave out
};

inline Ended run(const Start& start, const std::string& input = {}) { return Child(start).wait(input); }

void become_subreaper();
void end_all_descendants();

}  // namespace kiboko::host_test
