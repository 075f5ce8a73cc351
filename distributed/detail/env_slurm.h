// The short forms in which Slurm writes lists into its variables.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace gradus::dist::detail {

/// The first host of a list such as "gpu[07-09,12],login1" or "rack[1-2]node[01-16]"; nothing when it is no list.
std::optional<std::string> first_host(std::string_view list);

/// The entry of a node in counts such as "4(x2),3": 4, 4, 3; nothing when there is none.
std::optional<int> count_of_node(std::string_view counts, int node);

}  // namespace gradus::dist::detail
