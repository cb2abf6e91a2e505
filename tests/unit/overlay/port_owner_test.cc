// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/port_owner.h"

#include <gmock/gmock.h>

namespace trama::overlay {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const char* const kTable =
    "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer "
    "drops\n"
    " 1234: 0100007F:1A80 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 777 2 "
    "0000000000000000 0\n"
    " 1235: 00000000:1A80 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 0 2 0000000000000000 "
    "0\n"
    " 1236: 00000000:1A7F 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 778 2 "
    "0000000000000000 0\n";

TEST(PortOwner, FindsTheSocketsOfAPort) {
  EXPECT_THAT(udp_inodes(kTable, 6784), ElementsAre(777, 0));
  EXPECT_THAT(udp_inodes(kTable, 6783), ElementsAre(778));
  EXPECT_THAT(udp_inodes(kTable, 1), IsEmpty());
}

TEST(PortOwner, PassesOverWhatIsNoTable) {
  for (const char* text : {"", "\n\n", "a b c d e f g h i j k", " 1: :1A80 a b c d e f g 5", " 1: 0:zz a b c d e f g 5",
                           " 1: 0:1A80 a b c d e f g x", " 1: 0:1A80"})
    EXPECT_THAT(udp_inodes(text, 6784).size(), testing::Le(1u)) << text;
  EXPECT_THAT(udp_inodes(" 1: 0:FFFFF a b c d e f g 5", 65535), IsEmpty());
}

}  // namespace
}  // namespace trama::overlay
