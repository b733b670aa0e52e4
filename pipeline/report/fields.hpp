// The fields of a report, for those who write it out.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

namespace pipeline {

// 0 and "" where there is none.
inline std::uint64_t number(const boost::json::object& o, const char* key) {
  const auto* v = o.if_contains(key);
  return v == nullptr     ? 0
         : v->is_uint64() ? v->as_uint64()
         : v->is_int64()  ? static_cast<std::uint64_t>(v->as_int64())
                          : 0;
}

inline std::string word(const boost::json::object& o, const char* key) {
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_string() ? std::string() : std::string(v->as_string());
}

// An empty one where there is none: reports of older versions have fewer.
inline const boost::json::array& list(const boost::json::object& o, const char* key) {
  static const boost::json::array none;
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_array() ? none : v->get_array();
}

inline const boost::json::object& part(const boost::json::object& o, const char* key) {
  static const boost::json::object none;
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_object() ? none : v->get_object();
}

}  // namespace pipeline
