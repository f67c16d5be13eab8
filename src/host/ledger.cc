// SQLite facts this file relies on: application_id and user_version sit in the file's header, so a foreign database is
// recognised before anything is written to it; in WAL mode with synchronous=FULL the log is synced before COMMIT
// returns; a database whose writer was killed is recovered by the next one that opens it; quick_check reads every page.
#include "host/ledger.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "model/json.h"

namespace kiboko {
namespace {

constexpr int kApplicationId = 0x4b424b4f;  // "KBKO"
constexpr int kSchemaVersion = 1;

constexpr const char* kSchema = R"sql(
  CREATE TABLE grants (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, created_ms INTEGER NOT NULL, boot_id TEXT NOT NULL,
    body TEXT NOT NULL, holders TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, severity INTEGER NOT NULL, kind TEXT NOT NULL,
    grant_id TEXT NOT NULL, device TEXT NOT NULL, pid INTEGER NOT NULL, sentence TEXT NOT NULL);
)sql";

std::string holders_text(const std::vector<Holder>& holders) {
  nlohmann::json list = nlohmann::json::array();
  for (const Holder& holder : holders)
    list.push_back({{"keeper", holder.role == Holder::Role::Keeper},
                    {"pid", holder.process.pid},
                    {"start", holder.process.start_time},
                    {"namespace", holder.process.pid_namespace}});
  return list.dump();
}

Result<std::vector<Holder>> parse_holders(std::string_view text) {
  const nlohmann::json list = TRY(parse_json(text));
  std::vector<Holder> holders;
  try {
    for (const auto& item : list)
      holders.push_back({item.at("keeper").get<bool>() ? Holder::Role::Keeper : Holder::Role::Member,
                         {item.at("pid").get<pid_t>(), item.at("start").get<std::uint64_t>(),
                          item.at("namespace").get<std::uint64_t>()}});
  } catch (const nlohmann::json::exception& wrong) {
    return fail(Errc::Invalid, "the holders are not readable: {}", wrong.what());
  }
  return holders;
}

std::string dump(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

// One prepared statement, bound left to right and stepped.
class Ledger::Statement {
 public:
  Statement(sqlite3* database, const char* sql) { ::sqlite3_prepare_v2(database, sql, -1, &statement_, nullptr); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  ~Statement() { ::sqlite3_finalize(statement_); }

  Statement& bind(const std::string& text) {
    if (statement_ != nullptr)
      ::sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    return *this;
  }
  Statement& bind(std::int64_t number) {
    if (statement_ != nullptr) ::sqlite3_bind_int64(statement_, ++bound_, number);
    return *this;
  }
  int step() { return statement_ == nullptr ? SQLITE_ERROR : ::sqlite3_step(statement_); }
  std::int64_t number(int column) { return ::sqlite3_column_int64(statement_, column); }
  std::string text(int column) {
    const auto* bytes = ::sqlite3_column_text(statement_, column);
    return bytes == nullptr ? std::string()
                            : std::string(reinterpret_cast<const char*>(bytes),
                                          static_cast<std::size_t>(::sqlite3_column_bytes(statement_, column)));
  }

 private:
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

// Rolls back unless committed.
class Ledger::Transaction {
 public:
  explicit Transaction(const Ledger& ledger) : ledger_(ledger) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (open_) (void)ledger_.execute("ROLLBACK");
  }
  Result<void> begin() {
    TRY(ledger_.execute("BEGIN IMMEDIATE"));
    open_ = true;
    return {};
  }
  Result<void> commit() {
    TRY(ledger_.execute("COMMIT"));
    open_ = false;
    return {};
  }

 private:
  const Ledger& ledger_;
  bool open_ = false;
};

void Ledger::CloseDatabase::operator()(sqlite3* database) const { ::sqlite3_close(database); }
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

tl::unexpected<Error> Ledger::failed(const char* doing) const {
  const int code = ::sqlite3_errcode(database_.get());
  const char* hint = "";
  Errc errc = Errc::Unavailable;
  switch (code & 0xff) {
    case SQLITE_FULL:
      hint = ": the disk is full; free some space";
      break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
      hint = ": it must be writable by the agent; choose another place with --state-dir";
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      hint = ": move the file away to start with an empty ledger; running programs then go on without a grant";
      errc = Errc::Internal;
      break;
    default:
      break;
  }
  return fail(errc, "ledger {}: {}: {}{}", path_, doing, ::sqlite3_errmsg(database_.get()), hint);
}

Result<void> Ledger::execute(const char* sql) const {
  if (::sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return failed("cannot write");
  return {};
}

Result<Ledger> Ledger::open(const std::string& directory) {
  TRY(make_directories(directory, 0700));
  Ledger ledger;
  ledger.path_ = directory + "/ledger.db";
  const std::string lock_path = directory + "/lock";
  ledger.lock_ = TRY(open_file(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(ledger.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return fail(Errc::Conflict, "another agent uses {}: stop it, or choose another --state-dir", directory);
    return fail_errno(errno, fmt::format("lock {}", lock_path));
  }
  sqlite3* database = nullptr;
  const int code = ::sqlite3_open_v2(ledger.path_.c_str(), &database,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, nullptr);
  ledger.database_.reset(database);
  if (code != SQLITE_OK) return ledger.failed("cannot open");
  TRY(ledger.set_up());
  return ledger;
}

Result<void> Ledger::set_up() {
  ::sqlite3_busy_timeout(database_.get(), 2000);
  const auto number = [this](const char* pragma) -> Result<std::int64_t> {
    Statement statement(database_.get(), pragma);
    if (statement.step() != SQLITE_ROW) return failed("cannot read");
    return statement.number(0);
  };
  const std::int64_t application = TRY(number("PRAGMA application_id"));
  const std::int64_t version = TRY(number("PRAGMA user_version"));
  const std::int64_t tables = TRY(number("SELECT count(*) FROM sqlite_master"));
  const bool fresh = application == 0 && version == 0 && tables == 0;
  if (!fresh && application != kApplicationId)
    return fail(Errc::Invalid, "{} is a database of another program: choose another --state-dir", path_);
  if (version > kSchemaVersion)
    return fail(Errc::Invalid, "{} was written by a newer agent (schema {}, this one knows {}): use that agent", path_,
                version, kSchemaVersion);
  if (!fresh) {
    Statement check(database_.get(), "PRAGMA quick_check(1)");
    if (check.step() != SQLITE_ROW) return failed("cannot be checked");
    if (check.text(0) != "ok")
      return fail(Errc::Internal, "ledger {} is damaged ({}): move it away to start with an empty one", path_,
                  check.text(0));
  }
  TRY(execute("PRAGMA journal_mode=WAL"));
  TRY(execute("PRAGMA synchronous=FULL"));
  if (!fresh) {
    // Finds out now whether it can be written at all.
    TRY(execute("BEGIN IMMEDIATE"));
    return execute("COMMIT");
  }
  Transaction transaction(*this);
  TRY(transaction.begin());
  TRY(execute(kSchema));
  TRY(execute(fmt::format("PRAGMA application_id={}", kApplicationId).c_str()));
  TRY(execute(fmt::format("PRAGMA user_version={}", kSchemaVersion).c_str()));
  return transaction.commit();
}

Result<std::vector<GrantRecord>> Ledger::grants() const {
  Statement statement(database_.get(), "SELECT id, boot_id, body, holders FROM grants ORDER BY created_ms, id");
  std::vector<GrantRecord> records;
  int code = 0;
  while ((code = statement.step()) == SQLITE_ROW) {
    const std::string id = statement.text(0);
    GrantRecord record;
    record.boot_id = statement.text(1);
    const auto body = TRY(parse_json(statement.text(2)).map_error(about("ledger {}: grant {}", path_, id)));
    record.grant = TRY(grant_from_json(body).map_error(about("ledger {}: grant {}", path_, id)));
    record.holders = TRY(parse_holders(statement.text(3)).map_error(about("ledger {}: grant {}", path_, id)));
    records.push_back(std::move(record));
  }
  if (code != SQLITE_DONE) return failed("cannot read");
  return records;
}

Result<void> Ledger::insert(Event& event) {
  Statement statement(database_.get(),
                      "INSERT INTO events (time_ms, severity, kind, grant_id, device, pid, sentence) "
                      "VALUES (?, ?, ?, ?, ?, ?, ?)");
  statement.bind(event.time_ms).bind(static_cast<std::int64_t>(event.severity)).bind(event.kind);
  statement.bind(event.grant.text).bind(event.device.text).bind(std::int64_t{event.pid}).bind(event.sentence);
  if (statement.step() != SQLITE_DONE) return failed("cannot write an event");
  event.id = ::sqlite3_last_insert_rowid(database_.get());
  return {};
}

Result<void> Ledger::save(const GrantRecord& record, std::span<Event> events) {
  Transaction transaction(*this);
  TRY(transaction.begin());
  {
    Statement statement(database_.get(),
                        "INSERT OR REPLACE INTO grants (id, state, created_ms, boot_id, body, holders) "
                        "VALUES (?, ?, ?, ?, ?, ?)");
    statement.bind(record.grant.id.text).bind(std::string(name(record.grant.state))).bind(record.grant.created_ms);
    statement.bind(record.boot_id).bind(dump(to_json(record.grant))).bind(holders_text(record.holders));
    if (statement.step() != SQLITE_DONE) return failed("cannot write a grant");
  }
  for (Event& event : events) TRY(insert(event));
  return transaction.commit();
}

Result<void> Ledger::add_events(std::span<Event> events) {
  Transaction transaction(*this);
  TRY(transaction.begin());
  for (Event& event : events) TRY(insert(event));
  return transaction.commit();
}

Result<std::vector<Event>> Ledger::events_after(std::int64_t id, std::size_t at_most) const {
  Statement statement(database_.get(),
                      "SELECT id, time_ms, severity, kind, grant_id, device, pid, sentence FROM events WHERE id > ? "
                      "ORDER BY id LIMIT ?");
  statement.bind(id).bind(static_cast<std::int64_t>(at_most));
  std::vector<Event> events;
  int code = 0;
  while ((code = statement.step()) == SQLITE_ROW)
    events.push_back({statement.number(0), statement.number(1),
                      statement.number(2) == 0 ? Severity::Info : Severity::Warning, statement.text(3),
                      GrantId{statement.text(4)}, DeviceUuid{statement.text(5)},
                      static_cast<pid_t>(statement.number(6)), statement.text(7)});
  if (code != SQLITE_DONE) return failed("cannot read events");
  return events;
}

Result<void> Ledger::prune(std::size_t grants, std::size_t events) {
  Transaction transaction(*this);
  TRY(transaction.begin());
  Statement old_grants(database_.get(),
                       "DELETE FROM grants WHERE state = 'ended' AND id NOT IN (SELECT id FROM grants "
                       "WHERE state = 'ended' ORDER BY created_ms DESC LIMIT ?)");
  if (old_grants.bind(static_cast<std::int64_t>(grants)).step() != SQLITE_DONE) return failed("cannot forget grants");
  Statement old_events(database_.get(), "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?");
  if (old_events.bind(static_cast<std::int64_t>(events)).step() != SQLITE_DONE) return failed("cannot forget events");
  return transaction.commit();
}

}  // namespace kiboko
