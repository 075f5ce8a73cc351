// The name of a module's type as people write it.
#pragma once

#include <string>
#include <typeinfo>

namespace gradus::nn::detail {

/// "Linear" for gradus::nn::Linear, "Net" for a user's own.
std::string type_name(const std::type_info& type);

}  // namespace gradus::nn::detail
