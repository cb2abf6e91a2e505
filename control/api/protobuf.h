// SPDX-License-Identifier: GPL-2.0-or-later
// Bodies of requests in protobuf, as kubectl and client-go send them: read by the schema table into the JSON that the
// same client would have sent. Pure; bounded in depth and in the number of values.
#pragma once

#include <string_view>

#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

// What stands around every body: "k8s\0" and a runtime.Unknown.
struct Envelope {
  std::string api_version, kind;  // "" where the client has not said
  std::string_view message;       // the object's own bytes, within those that were given
};
Answer<Envelope> open_envelope(std::string_view body);

// `message` is a message of the schema table. Field numbers that it does not know are skipped, as Go does. Unset
// fields stay unset: zeros that Go always writes are dropped. An object with metadata gets it, but neither apiVersion
// nor kind.
Answer<json::object> decode_message(std::string_view message, std::string_view bytes);

}  // namespace trama::api
