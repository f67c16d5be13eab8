// "hami.io/node-nvidia-score": how well each two GPUs of a node are linked. Higher is better.
//
// Plain value and pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "model/quantities.h"

namespace kiboko {

// By the first GPU and the second; a pair that is not there scores nothing.
using PairScores = std::map<DeviceUuid, std::map<DeviceUuid, std::int32_t>>;
std::int32_t score_of(const PairScores& scores, const DeviceUuid& a, const DeviceUuid& b);

Result<PairScores> decode_pair_scores(std::string_view text);
std::string encode_pair_scores(const PairScores& scores);

}  // namespace kiboko
