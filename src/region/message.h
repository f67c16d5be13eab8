// Builds the text of a PageError without allocation or locale. What comes from outside (paths, file contents) is
// shown with '?' for bytes that a terminal would act on. Text that does not fit is cut.
#pragma once

#include <cstddef>
#include <cstdint>

#include "region/grant_page.h"

namespace kiboko::region {

class Message {
 public:
  explicit Message(PageError* error) : error_(error) {
    if (error_ != nullptr) error_->text[0] = '\0';
  }
  Message& operator<<(const char* text) {
    for (; text != nullptr && *text != '\0'; ++text) put(*text);
    return *this;
  }
  Message& operator<<(std::uint64_t number) {
    char digits[20];
    unsigned count = 0;
    do digits[count++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    while (count != 0) put(digits[--count]);
    return *this;
  }
  Message& octal(std::uint32_t mode) {
    put('0');
    for (int shift = 9; shift >= 0; shift -= 3)
      if (shift < 9 || (mode >> shift) != 0) put(static_cast<char>('0' + ((mode >> shift) & 7)));
    return *this;
  }

 private:
  void put(char c) {
    if (error_ == nullptr || used_ + 1 >= sizeof error_->text) return;
    const unsigned char byte = static_cast<unsigned char>(c);
    error_->text[used_++] = byte < 0x20 || byte == 0x7f ? '?' : c;
    error_->text[used_] = '\0';
  }
  PageError* error_;
  std::size_t used_ = 0;
};

// A mode as ls and chmod have it.
struct Octal {
  std::uint32_t mode;
};
inline Message& operator<<(Message& message, Octal value) { return message.octal(value.mode); }

// `return refuse(error, "the page ", path, " has version ", 7u);`
template <class... Parts>
bool refuse(PageError* error, Parts... parts) {
  Message message(error);
  (void)(message << ... << parts);
  return false;
}

}  // namespace kiboko::region
