// Listening sockets: a unix socket that two servers cannot share and a crash cannot block, and loopback TCP.
//
// Made by main(), then owned by the Server.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/file.h"
#include "base/result.h"

namespace kiboko::net {

struct UnixAddress {
  std::string path;
  mode_t mode = 0600;
  std::optional<gid_t> group;
};

// One listening socket. A unix socket's file is removed when the Listener goes.
class Listener {
 public:
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int fd() const { return fd_.get(); }
  bool is_unix() const { return !socket_path_.empty(); }
  // "unix:/run/kiboko/agent.sock" or "http://127.0.0.1:9410"
  const std::string& address() const { return address_; }
  std::uint16_t port() const { return port_; }

 private:
  friend Result<Listener> listen_unix(const UnixAddress&);
  friend Result<Listener> listen_tcp(const std::string&, std::uint16_t);
  Listener() = default;

  UniqueFd fd_;
  UniqueFd lock_;
  std::string socket_path_;
  ino_t inode_ = 0;
  std::string address_;
  std::uint16_t port_ = 0;
};

// Holds `path`.lock while it lives. The socket of a server that died is replaced; with a live one it is a Conflict,
// "another agent is listening on PATH". A file there that is no socket is left alone and is a Conflict too.
Result<Listener> listen_unix(const UnixAddress& address);

// `host` is 127.0.0.1, ::1 or another loopback address; nothing else is accepted, for there is no TLS here. Port 0
// takes any free one.
Result<Listener> listen_tcp(const std::string& host, std::uint16_t port);

// The group's number, NotFound if there is no such group.
Result<gid_t> group_id(const std::string& group_name);

}  // namespace kiboko::net
