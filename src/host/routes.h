// The agent's HTTP interface: requests in, calls on the Host, answers out. docs/api.md describes it.
//
// Made by main(); its handlers run on the loop and hold no state but the long polls that wait for a grant to change.
#pragma once

#include <optional>
#include <string>

#include "host/host.h"
#include "net/metrics.h"
#include "net/router.h"

namespace kiboko {

// What /meta tells besides the host's own state.
struct AgentInfo {
  std::string version;
  std::string host_name;
  std::string socket;   // path
  std::string console;  // "http://127.0.0.1:7600", empty when switched off
  bool simulated = false;
  std::optional<gid_t> managers;  // group kiboko
};

// Who is asking, from the peer's credentials alone.
Caller caller_of(const net::Peer& peer, const AgentInfo& info);

// `metrics` must have the families of host_metric_families().
void add_host_routes(net::Router& router, Host& host, net::Loop& loop, net::Metrics& metrics, const AgentInfo& info);

}  // namespace kiboko
