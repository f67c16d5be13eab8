// Which handler answers which request.
//
// Filled by main() before the server starts, then only read. Handlers run on the loop's thread, one at a time, and must
// not block; one that has to wait keeps its Responder and answers later.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"
#include "net/responder.h"

namespace kiboko::net {

using Handler = std::function<Response(const Request&)>;
using DeferredHandler = std::function<void(const Request&, Responder)>;

struct RouteOptions {
  bool only_reads = false;  // answers also where a listener allows reading only, whatever the method
};

class Router {
 public:
  // Parts of `pattern` in braces match one part of a path each: "/api/v1/grants/{id}". A last part "{name...}" matches
  // the rest, slashes included. Where several patterns match, the one that is literal for longer wins. HEAD is answered
  // by GET's handler unless it has its own.
  void add(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options = {});
  void add_deferred(std::string_view method, std::string_view pattern, DeferredHandler handler,
                    RouteOptions options = {});

  // Answers now or later through `responder`: 404, 405 with Allow, 403 for a change on a listener that is `read_only`,
  // 500 if a handler throws. Sets request.captures. Returns the pattern that matched, "" for none.
  std::string_view dispatch(Request& request, const Responder& responder, bool read_only = false) const;

 private:
  struct Route;
  const Route* find(const Request& request, const std::vector<std::string>& parts, std::string& allow) const;

  std::vector<std::shared_ptr<const Route>> routes_;
};

}  // namespace kiboko::net
