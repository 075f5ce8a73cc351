// A few keys and values that all processes of a job see: how they find each other and tell each other of failures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <gradus/core/api.h>
#include <gradus/core/box.h>

namespace gradus::dist {

struct StoreOptions {
  std::string token = {};   ///< a tcp:// store answers only those who know it
  std::string prefix = {};  ///< put before each key: the job and the attempt
  double timeout = 120;     ///< seconds until connecting, or a call to the server, is given up; such a call may still
                            ///< take effect later
};

/// Failures are CommErrors that name the store and the key: `timeout` for a server that does not answer (the next call
/// asks again), peer_lost for one that is gone, setup for what it refuses. Safe to use by several threads, one at a
/// time; somebody who waits in get() keeps the others waiting, so a thread that watches a key opens a store of its own.
class GRADUS_API Store {
 public:
  virtual ~Store() = default;
  /// Binary values, 16 MiB at most. Replaces a value.
  virtual void set(const std::string& key, const std::string& value) = 0;
  /// Waits for the key; CommError (timeout) that names it when it has not come after `timeout` seconds.
  virtual std::string get(const std::string& key, double timeout) = 0;
  /// The value, or nothing, at once.
  virtual std::optional<std::string> find(const std::string& key) = 0;
  /// Adds to a number (0 when there is none yet; kept as decimal text) in one step, and returns the sum.
  virtual int64_t add(const std::string& key, int64_t number) = 0;
  /// Sets the key only if it is not there yet; returns what it holds afterwards.
  virtual std::string set_once(const std::string& key, const std::string& value) = 0;
  /// Where the store can see that a process is gone (tcp://): sets the key, if it is not there, as soon as this store's
  /// connection ends without close(). False where it cannot.
  virtual bool leave_will(const std::string& key, const std::string& value) = 0;
  /// Ends the connection in good order: the will is not carried out. The destructor does not do this.
  virtual void close() = 0;
};

/// tcp://host:port, file:///folder (on a file system that all machines share) or redis://host:port.
GRADUS_API Box<Store> open_store(const std::string& url, const StoreOptions& options = {});

/// Serves a tcp:// store from a thread of its own until it is destroyed.
class GRADUS_API StoreServer {
 public:
  /// Port 0: a free one. `host` is the address to listen on. CommError (setup) when the port is taken.
  StoreServer(const std::string& host, int port, std::string token);
  ~StoreServer();
  int port() const;
  /// Serves on until the last client has left, for `seconds` at most, and ends.
  void finish(double seconds);

 private:
  struct State;
  Box<State> state_;
};

}  // namespace gradus::dist
