// A step that all ranks take, and of which all of them learn how it went.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <gradus/distributed/process_group.h>

namespace gradus::data::detail {

/// Every rank does its work and tells the others what it returned; the result is each rank's text. When the work of any
/// rank throws, all throw an IoError that names the first such rank and what it said: nobody goes on alone, and none is
/// left waiting. The texts are trusted as the ranks are.
std::vector<std::string> together(const dist::ProcessGroup& group, const std::function<std::string()>& work);

}  // namespace gradus::data::detail
