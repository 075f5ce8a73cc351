// The things that a checkpoint consists of, with the names that their entries have in it.
#pragma once

#include <string>
#include <vector>

#include <gradus/core/stateful.h>

namespace gradus::data::detail {

struct NamedThing {
  std::string name;  ///< entries are "<name>/<entry>"
  Stateful* thing;
  bool is_generator;  ///< each rank has a state of its own
};

/// By their state_name(); several of a kind get ".1", ".2". The default generator is added when it is not among them.
std::vector<NamedThing> name_things(std::vector<Stateful*> things);

}  // namespace gradus::data::detail
