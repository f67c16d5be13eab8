// What the host has promised, on disk: grants with the processes that hold them, and the event log.
//
// Owned by the Host and used on its loop's thread alone. SQLite in WAL mode with synchronous=FULL: when a call returns
// without an error, what it wrote survives a SIGKILL at the next instruction and a power cut. The file is locked
// against a second agent for as long as the Ledger lives.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/process.h"
#include "host/event.h"
#include "model/grant.h"

struct sqlite3;

namespace kiboko {

// Who keeps a grant alive.
struct Holder {
  enum class Role { Keeper, Member };
  Role role = Role::Member;
  ProcessId process;
  bool operator==(const Holder&) const = default;
};

struct GrantRecord {
  Grant grant;
  std::vector<Holder> holders;
  std::string boot_id;  // pids and start times mean something only in this boot
  bool operator==(const GrantRecord&) const = default;
};

class Ledger {
 public:
  // `<directory>/ledger.db`, made if absent. Errors name the file and what to do; nothing is ever deleted or replaced.
  static Result<Ledger> open(const std::string& directory);
  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) = delete;
  ~Ledger();

  // All grants, ended ones included, oldest first.
  Result<std::vector<GrantRecord>> grants() const;
  // Writes the record and the events, all or nothing. The events get their ids.
  Result<void> save(const GrantRecord& record, std::span<Event> events = {});
  Result<void> add_events(std::span<Event> events);
  Result<std::vector<Event>> events_after(std::int64_t id, std::size_t at_most) const;

  // Ended grants beyond the newest `grants`, and events beyond the newest `events`, go.
  Result<void> prune(std::size_t grants, std::size_t events);

  const std::string& path() const { return path_; }

 private:
  class Statement;
  class Transaction;
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };

  Ledger() = default;
  Result<void> set_up();
  Result<void> execute(const char* sql) const;
  Result<void> insert(Event& event);
  tl::unexpected<Error> failed(const char* doing) const;

  std::string path_;
  UniqueFd lock_;
  std::unique_ptr<sqlite3, CloseDatabase> database_;
};

}  // namespace kiboko
