// The host's state as the JSON of the HTTP interface, by who is looking: everybody sees shares and owners, only those
// who may manage a grant see its command, and only its owner gets its environment.
//
// Pure reading of a Host, on its loop.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "host/host.h"

namespace kiboko {

nlohmann::json grant_view(const Host& host, const LiveGrant& live, const Caller& caller);
nlohmann::json ended_view(const Grant& grant, const Caller& caller);
nlohmann::json devices_view(const Host& host, const Caller& caller);
nlohmann::json queue_view(const Host& host, const Caller& caller);
nlohmann::json explanation_view(const Host::Explanation& explanation);
nlohmann::json event_view(const Event& event);

// JSON as text; bytes that are not UTF-8 (a process may call itself anything) become U+FFFD.
std::string dump(const nlohmann::json& json);

}  // namespace kiboko
