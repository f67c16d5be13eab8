// Asks the device library again and again on a thread of its own, so that a driver that hangs stops nobody.
//
// Made by main(). `latest` may be called from any thread and never blocks on the driver. A library that does not come
// back is left alone in its thread: at the end the thread is given two seconds and then abandoned to the process's
// exit.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "node/device_library.h"

namespace kiboko {

class Watcher {
 public:
  struct View {
    std::shared_ptr<const Survey> survey;  // the last that succeeded, null before the first
    std::uint64_t serial = 0;              // of that survey
    Nanoseconds age{0};                    // since it began
    Nanoseconds waiting{0};                // how long the present call has not come back
    std::string error;                     // of the last call, empty when it succeeded
  };

  Watcher(std::shared_ptr<DeviceLibrary> library, const Clock& clock, Nanoseconds period);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher();

  View latest() const;
  // Waits for the first survey or error, or until the time is over.
  View first(Nanoseconds at_most) const;
  // Called on the watcher's thread after each survey; set before it matters. Must only hand over (post to a loop).
  void on_survey(std::function<void()> callback);

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace kiboko
