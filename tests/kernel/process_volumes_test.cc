// SPDX-License-Identifier: GPL-2.0-or-later
// Volumes as containers see them, and that nothing of them is ever in the host's tree.
#include <thread>

#include "tests/kernel/process_fixture.h"

namespace trama::netns {
namespace {

class VolumesTest : public ProcessTest {
 protected:
  static Volume files(std::map<std::string, VolumeFile> f) {
    Volume v;
    v.files = std::move(f);
    return v;
  }
  RunningPod start_with(const PodSpec& spec, const Volumes& volumes) {
    auto running = pods_->start(spec, volumes);
    EXPECT_TRUE(running) << running.error().to_string();
    if (!running) return {};
    inits_.push_back(running->pid);
    return std::move(*running);
  }
  PodSpec spec_with(const std::string& script, const Volumes& volumes, std::vector<VolumeMount> mounts) {
    PodSpec s = pod(script);
    for (const auto& [name, v] : volumes) s.volumes[name] = {v.scratch, v.size_bytes};
    s.containers[0].mounts = std::move(mounts);
    return s;
  }
  std::string run_with(const PodSpec& spec, const Volumes& volumes) {
    start_with(spec, volumes);
    EXPECT_TRUE(test::eventually([&] { return finished(spec.uid); }, 20000)) << story(spec.uid);
    return output(spec.uid);
  }
  std::string in(const Uid& uid, const std::string& script) { return exec(uid, {"sh", "-c", script}).out; }
};

TEST_F(VolumesTest, FilesHaveTheirModesAndCannotBeWritten) {
  Volumes volumes{{"config", files({{"a.conf", {"alpha\n", 0644}}, {"deep/er/key", {"k3y", 0400}}})}};
  volumes["config"].files["bytes"] = {std::string("\0\xff\n", 3), 0444};
  auto spec = spec_with(
      "cd /etc/web; cat a.conf; stat -L -c '%a %u %n' a.conf deep/er/key; od -An -tx1 bytes; "
      "(echo x > new) 2>/dev/null || echo closed; (echo x >> a.conf) 2>/dev/null || echo closed; "
      "readlink a.conf deep; (cd ..; ls | grep -c passwd); ls -d /etc/ssl /data/here/too",
      volumes, {{"config", "/etc/web", "", true}, {"config", "/data/here/too", "", true}});
  EXPECT_EQ(run_with(spec, volumes),
            "alpha\n644 0 a.conf\n400 0 deep/er/key\n 00 ff 0a\nclosed\nclosed\n..data/a.conf\n..data/deep\n2\n"
            "/data/here/too\n/etc/ssl\n");
}

// Of volumes of files alone: what containers write may be a link to anywhere.
TEST_F(VolumesTest, AFileIsReadFromOutsideAndNothingElseIs) {
  Volume scratch;
  scratch.scratch = true;
  Volumes volumes{{"config", files({{"deep/a", {"one", 0400}}})}, {"work", scratch}};
  auto spec = spec_with("ln -s /etc/hostname /scratch/f; cat /scratch/f >/dev/null && touch /scratch/done; sleep 1000",
                        volumes, {{"config", "/config", "", true}, {"work", "/scratch", "", false}});
  start_with(spec, volumes);
  ASSERT_TRUE(test::eventually([&] { return container(spec.uid).state.phase == ContainerPhase::running; }));
  ASSERT_TRUE(test::eventually([&] { return in(spec.uid, "ls /scratch") == "done\nf\n"; })) << story(spec.uid);
  auto read = [&](const Uid& uid, const char* volume, const char* path) {
    auto text = pods_->volume_file(uid, volume, path);
    return text ? *text : "refused";
  };
  EXPECT_EQ(read(spec.uid, "config", "deep/a"), "one");
  ASSERT_TRUE(pods_->write_volumes(spec.uid, {{"config", files({{"deep/a", {"two", 0400}}})}}));
  EXPECT_EQ(read(spec.uid, "config", "deep/a"), "two");
  EXPECT_EQ(read(spec.uid, "config", "b"), "refused");
  EXPECT_EQ(read(spec.uid, "work", "f"), "refused");
  EXPECT_EQ(read(spec.uid, "config", "../config/deep/a"), "refused");
  EXPECT_EQ(read(spec.uid, "../volumes/config", "deep/a"), "refused");
  EXPECT_EQ(read("nobody", "config", "deep/a"), "refused");
}

TEST_F(VolumesTest, UpdatesAreWholeAndReachTheContainerButNotASubPath) {
  Volumes volumes{{"config", files({{"a", {"1", 0644}}, {"b", {"1", 0644}}, {"old", {"x", 0644}}})}};
  auto spec =
      spec_with("sleep 1000", volumes, {{"config", "/config", "", true}, {"config", "/etc/one-file", "a", true}});
  start_with(spec, volumes);
  ASSERT_TRUE(test::eventually([&] { return container(spec.uid).state.phase == ContainerPhase::running; }));
  EXPECT_EQ(in(spec.uid, "cat /config/a /config/b /config/old /etc/one-file"), "11x1");
  auto before = pods_->volume_digests(spec.uid);
  ASSERT_TRUE(before);
  EXPECT_EQ(before->at("config"), digest(volumes["config"]));

  // A reader that resolves ..data once sees one version, whenever it looks.
  ASSERT_TRUE(pods_->write_volumes(spec.uid, {{"config", files({{"a", {"2", 0600}}, {"b", {"2", 0644}}})}}));
  EXPECT_EQ(in(spec.uid, "cat /config/a /config/b /etc/one-file; ls /config; stat -L -c %a /config/a"),
            "221a\nb\n600\n");
  EXPECT_EQ(in(spec.uid, "ls -A /config | grep -c '^[.][.]2'"), "1\n") << "the old version is gone";
  auto mixed = [&](const std::string& script) { return in(spec.uid, script); };
  std::thread writer([&] {
    for (int i = 0; i < 100; ++i) {
      auto n = std::to_string(i % 10);
      EXPECT_TRUE(pods_->write_volumes(spec.uid, {{"config", files({{"a", {n, 0644}}, {"b", {n, 0644}}})}}));
    }
  });
  auto seen = mixed(
      "n=0; for i in $(seq 200); do d=$(readlink /config/..data); a=$(cat /config/$d/a 2>/dev/null) || continue; "
      "b=$(cat /config/$d/b 2>/dev/null) || continue; [ \"$a\" = \"$b\" ] || echo mixed $a $b; n=$((n+1)); done; "
      "[ $n -gt 0 ] && echo looked");
  writer.join();
  EXPECT_EQ(seen, "looked\n");
}

TEST_F(VolumesTest, ScratchIsSharedBoundedAndEndsWithThePod) {
  Volume scratch;
  scratch.scratch = true, scratch.size_bytes = 1 << 20;
  Volumes volumes{{"work", scratch}};
  auto spec = spec_with(
      "until [ -e /scratch/hello ]; do sleep 0.02; done; cat /scratch/hello; ls /only; (echo x > /only/y) 2>/dev/null "
      "|| "
      "echo "
      "closed; head -c 2000000 /dev/zero > /scratch/big 2>/dev/null || echo full; "
      "rm /scratch/big; printf '#!/bin/sh\\necho ran\\n' > /scratch/x; chmod +x /scratch/x; /scratch/x",
      volumes, {{"work", "/scratch", "", false}, {"work", "/only", "made/for it", true}});
  ContainerSpec other;
  other.name = "other";
  other.command = {"sh", "-c", "stat -c %a /shared; echo hi > /shared/hello"};
  other.mounts = {{"work", "/shared", "", false}};
  spec.containers.push_back(other);
  EXPECT_EQ(run_with(spec, volumes), "hi\nclosed\nfull\nran\n");
  EXPECT_EQ(output(spec.uid, "other"), "777\n");
}

// The first run of a container puts a link in the place of the directory that its subPath was; the second is not led
// out.
TEST_F(VolumesTest, NoLinkInAVolumeLeadsOutOfIt) {
  Volume scratch;
  scratch.scratch = true;
  Volumes volumes{{"work", scratch}};
  auto planted = [&](const std::string& target) {
    auto s = spec_with(
        "if [ ! -e /scratch/planted ]; then touch /scratch/planted; mkdir /scratch/ok; echo mine > /scratch/ok/f; rm "
        "-r "
        "/scratch/a; ln -s " +
            target + " /scratch/a; exit 1; fi; ls /seen",
        volumes, {{"work", "/scratch", "", false}, {"work", "/seen", "a", true}});
    s.restart = RestartPolicy::on_failure;
    start_with(s, volumes);
    return s.uid;
  };
  auto inside = planted("/ok");
  EXPECT_TRUE(test::eventually([&] { return finished(inside); }, 20000)) << story(inside);
  EXPECT_EQ(output(inside), "f\n") << "the control: a link inside the volume is one";
  for (const char* target : {"/etc", "../../../../../../etc", "/host/etc"}) {
    auto uid = planted(target);
    EXPECT_TRUE(test::eventually([&] { return story(uid).find("StartError") != std::string::npos; }, 20000))
        << story(uid);
    EXPECT_EQ(output(uid), "") << target;
  }
}

TEST_F(VolumesTest, NothingOfThemIsOnTheHost) {
  std::string word = "s3cret-" + std::to_string(::getpid());
  Volumes volumes{{"secret", files({{"password", {word, 0400}}})}};
  auto spec = spec_with("sleep 1000", volumes, {{"secret", "/var/run/secrets/app", "", true}});
  auto running = start_with(spec, volumes);
  ASSERT_TRUE(test::eventually([&] { return container(spec.uid).state.phase == ContainerPhase::running; }));
  EXPECT_EQ(in(spec.uid, "cat /var/run/secrets/app/password"), word);
  auto mounts = base::read_file("/proc/self/mountinfo", 16 << 20);
  ASSERT_TRUE(mounts);
  EXPECT_EQ(mounts->find(pods_->directory(spec.uid)), std::string::npos);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(scratch_))
    if (entry.is_regular_file()) {
      auto text = base::read_file(entry.path().string(), 64 << 20).value_or("");
      EXPECT_EQ(text.find(word), std::string::npos) << entry.path();
    }
  // The control: it is where the agent writes it, and a memory file system.
  auto inside = "/proc/" + std::to_string(running.pid) + "/root/volumes/secret/password";
  EXPECT_EQ(base::read_file(inside).value_or("nothing"), word);
  auto theirs = base::read_file("/proc/" + std::to_string(running.pid) + "/mountinfo", 16 << 20);
  ASSERT_TRUE(theirs);
  EXPECT_NE(theirs->find(" /volumes rw,nosuid,nodev"), std::string::npos) << *theirs;
}

// Images of distributions have /var/run as a link, and some no /run.
TEST_F(VolumesTest, AMountPointBelowALinkThatLeadsToNothingIsMade) {
  auto image = scratch_ + "/image";
  ASSERT_EQ(
      test::shell("mkdir -p " + image + "/var && ln -s /run " + image + "/var/run && ln -s ../gone " + image +
                  "/var/loop && ln -s var/loop " + image +
                  "/gone && cp --parents -L /bin/sh /bin/cat $(ldd /bin/sh /bin/cat | grep -o '/[^ ]*[^ :]') " + image),
      0);
  Volumes volumes{{"token", files({{"token", {"abc", 0644}}})}};
  auto spec = spec_with("/bin/cat /var/run/secrets/x/token /run/secrets/x/token", volumes,
                        {{"token", "/var/run/secrets/x", "", true}});
  spec.containers[0].image = "dir:" + image;
  spec.containers[0].command[0] = "/bin/sh";
  EXPECT_EQ(run_with(spec, volumes), "abcabc\n") << story(spec.uid);
  EXPECT_FALSE(std::filesystem::exists(image + "/run")) << "in memory";
  auto endless = spec_with("true", volumes, {{"token", "/var/loop/x", "", true}});
  endless.containers[0].image = "dir:" + image;
  endless.containers[0].command[0] = "/bin/sh";
  (void)run_with(endless, volumes);
  EXPECT_EQ(container(endless.uid).state.reason, "StartError") << story(endless.uid);
}

TEST_F(VolumesTest, AMountThatCannotBeIsTheContainersFailure) {
  Volumes volumes{{"config", files({{"a", {"1", 0644}}})}};
  auto spec = spec_with("true", volumes, {{"config", "/etc/passwd", "", true}});
  start_with(spec, volumes);
  ASSERT_TRUE(test::eventually([&] { return finished(spec.uid); })) << story(spec.uid);
  EXPECT_EQ(container(spec.uid).state.reason, "StartError");
  EXPECT_NE(container(spec.uid).state.message.find("/etc/passwd is a file in the image"), std::string::npos);
  auto gone = spec_with("true", volumes, {{"config", "/x", "nowhere", true}});
  start_with(gone, volumes);
  ASSERT_TRUE(test::eventually([&] { return finished(gone.uid); })) << story(gone.uid);
  EXPECT_NE(container(gone.uid).state.message.find("subPath \"nowhere\""), std::string::npos) << story(gone.uid);
  EXPECT_TRUE(pods_->write_volumes("nobody", {}).error().is(std::errc::no_such_process));
}

}  // namespace
}  // namespace trama::netns
