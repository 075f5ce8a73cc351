// Meets the other processes of its job by Env and Store alone, and prints who it is.
#include <fmt/format.h>

#include <optional>

#include <gradus/core/error.h>
#include <gradus/distributed/env.h>
#include <gradus/distributed/store.h>

using namespace gradus::dist;

int main() {
  try {
    const Env env = Env::detect();
    std::optional<StoreServer> server;
    if (env.hosts_store) server.emplace("", std::stoi(env.store.substr(env.store.rfind(':') + 1)), env.token);
    if (!env.store.empty()) {
      const auto store = open_store(env.store, {.token = env.token, .prefix = env.job + "/", .timeout = 20});
      if (store->add("came", 1) == env.size) store->set("all", "");
      store->get("all", 20);
      if (store->add("left", 1) == env.size) store->set("none", "");
      if (server) store->get("none", 20);
    }
    fmt::print("{} rank {} of {}, {} of {} on node {}\n", env.starter, env.rank, env.size, env.local_rank,
               env.local_size, env.node);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "env_probe: {}\n", error.what());
    return 1;
  }
}
