// SPDX-License-Identifier: GPL-2.0-or-later
// SQLite's write-ahead log as it lies on the disk (https://www.sqlite.org/fileformat2.html#walformat). Pure.
#pragma once

#include <string>
#include <string_view>

namespace trama::store {

// What is damaged in the log of a store that nobody has open; "" when it ends as a crash or a clean end leaves it.
// SQLite takes the first frame that is not whole for the end, and all that was acknowledged behind it would be lost
// silently. A crash damages only the transaction that was being written, which is the last: what is whole behind a
// damaged frame and goes on from a transaction's end tells the two apart. Damage in the last transaction can not be
// told from a crash.
std::string wal_damage(std::string_view wal);

}  // namespace trama::store
