#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace kiboko {
namespace {

Errc code_of(int saved_errno) {
  switch (saved_errno) {
    case ENOENT:
    case ENOTDIR:
    case ESRCH:
      return Errc::NotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::Forbidden;
    case EEXIST:
    case EBUSY:
    case EADDRINUSE:
      return Errc::Conflict;
    case EINVAL:
    case ENAMETOOLONG:
      return Errc::Invalid;
    case EAGAIN:
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ETIMEDOUT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSPC:
      return Errc::Unavailable;
    default:
      return Errc::Internal;
  }
}

}  // namespace

tl::unexpected<Error> fail_errno(int saved_errno, std::string_view what) {
  char buffer[128];
  return fail(code_of(saved_errno), "{}: {}", what, ::strerror_r(saved_errno, buffer, sizeof buffer));
}

}  // namespace kiboko
