// The address of this machine by which the other processes of the job can reach it.
#pragma once

#include <string>

#include <gradus/distributed/env.h>

namespace gradus::dist::detail {

/// The address of the interface GRADUS_SOCKET_IFNAME; else the one by which the store's host is reached; else that of
/// the default route. Loopback where all processes are on this machine and the store says nothing else. The host's name
/// is not asked: many machines map it to loopback. Throws CommError (setup).
std::string own_address(const Env& env);

}  // namespace gradus::dist::detail
