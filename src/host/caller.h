// Who makes a request, as far as the host cares. Plain value; made from the socket's peer credentials, never from what
// a request says.
#pragma once

#include <sys/types.h>

#include <string>

#include "model/grant.h"

namespace kiboko {

struct Caller {
  bool known = false;  // over loopback nobody is
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  bool manages_all = false;  // root, the agent's own user, or a member of group kiboko

  bool may_manage(const Grant& grant) const { return known && (manages_all || grant.owner.uid == uid); }
  bool owns(const Grant& grant) const { return known && grant.owner.uid == uid; }
};

// "alice", or the number when it has no name.
std::string user_name(uid_t uid);

}  // namespace kiboko
