// Connects the ranks of a group: Gloo's full mesh of TCP connections, met through our store.
#pragma once

#include <memory>

#include <gloo/context.h>

#include <gradus/distributed/detail/engine.h>

namespace gradus::dist::gloo_engine {

std::shared_ptr<gloo::Context> connect(const detail::Member& member, Store& store);

}  // namespace gradus::dist::gloo_engine
