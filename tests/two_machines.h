// Two machines of one kernel: the network namespaces a (10.77.0.1, interface va) and b (10.77.0.2, vb) with a cable
// between them, in namespaces of their own that end with what runs there.
#pragma once

#include <cstdlib>
#include <string>

#include "scratch.h"

#include <gradus/fmt.h>

class TwoMachines {
 public:
  /// What sh does there, killed after `limit` seconds; "ip netns exec a" runs a command on a machine.
  TwoMachines(const Scratch& folder, const std::string& script, double limit)
      : command_(fmt::format("timeout -s KILL {:.0f} unshare -Urnmpf --kill-child sh {}", limit,
                             write_file(folder / "machines", made_first + script))) {}

  /// Whether this kernel has them; says so if not.
  bool exist() const {
    if (std::system((command_ + " probe >/dev/null 2>&1").c_str()) == 0) return true;
    fmt::print("SKIPPED two machines: unshare -Urnm with ip netns does not work here\n");
    return false;
  }
  /// The script with these arguments, quoted for sh; what it prints goes to `log`.
  void run(const std::string& arguments, const std::string& log) const {
    [[maybe_unused]] const int code = std::system(fmt::format("{} {} >{} 2>&1", command_, arguments, log).c_str());
  }

 private:
  static constexpr const char* made_first = R"(
set -e
mount -t tmpfs none /run
ip netns add a
ip netns add b
ip link add va type veth peer name vb
ip link set va netns a
ip link set vb netns b
for n in a b; do ip -n $n link set lo up; ip -n $n link set v$n up; done
ip -n a addr add 10.77.0.1/24 dev va
ip -n b addr add 10.77.0.2/24 dev vb
test "$1" = probe && exit 0
)";
  const std::string command_;
};
