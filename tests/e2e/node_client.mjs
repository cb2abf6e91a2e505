// SPDX-License-Identifier: GPL-2.0-or-later
// The JavaScript client of Kubernetes (@kubernetes/client-node 1.x) against a cluster. Prints a line for each thing that
// worked; the first that does not ends it with status 1.
//
// usage: node node_client.mjs FOLDER_OF_NODE_MODULES KUBECONFIG
import { PassThrough } from 'node:stream';

const [, , modules, kubeconfig] = process.argv;
const k8s = await import(`${modules}/@kubernetes/client-node/dist/index.js`);

const namespace = 'default';
const check = (name, holds, what = '') => {
  if (!holds) throw new Error(`${name}: ${JSON.stringify(what)}`);
  console.log('ok', name);
};
const status_of = async (call) => {
  try {
    await call;
  } catch (e) {
    return e.code;
  }
  return 200;
};
const soon = async (done) => {
  for (let i = 0; i < 200 && !(await done()); ++i) await new Promise((r) => setTimeout(r, 100));
  return done();
};
const collected = (stream) => {
  const out = { text: '' };
  stream.on('data', (piece) => (out.text += piece.toString()));
  return out;
};

const kc = new k8s.KubeConfig();
kc.loadFromFile(kubeconfig);
const v1 = kc.makeApiClient(k8s.CoreV1Api);

// Objects.
const body = { metadata: { name: 'js', labels: { a: '1' } }, data: { x: '1' } };
const made = await v1.createNamespacedConfigMap({ namespace, body });
check('create', made.metadata.uid);
check('create twice is a conflict', (await status_of(v1.createNamespacedConfigMap({ namespace, body: made }))) === 409);
check('get what is not there', (await status_of(v1.readNamespacedConfigMap({ name: 'nobody', namespace }))) === 404);
check('list by labels', (await v1.listNamespacedConfigMap({ namespace, labelSelector: 'a=1' })).items.length === 1);
for (const [kind, change, expected] of [
  [k8s.PatchStrategy.MergePatch, { data: { x: '2', y: '1' } }, { x: '2', y: '1' }],
  [k8s.PatchStrategy.JsonPatch, [{ op: 'remove', path: '/data/y' }], { x: '2' }],
  [k8s.PatchStrategy.StrategicMergePatch, { data: { z: '3' } }, { x: '2', z: '3' }],
]) {
  const how = k8s.setHeaderOptions('Content-Type', kind);
  const got = await v1.patchNamespacedConfigMap({ name: 'js', namespace, body: change }, how);
  check(`patch ${kind}`, JSON.stringify(got.data) === JSON.stringify(expected), got.data);
}

// Watches: from a revision, and an informer that lives through what happens.
const revision = (await v1.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
const seen = [];
const path = `/api/v1/namespaces/${namespace}/configmaps`;
const watch = await new k8s.Watch(kc).watch(path, { resourceVersion: revision, allowWatchBookmarks: true },
  (type, object) => seen.push(`${type} ${object.metadata.name}`), () => {});
const informer = k8s.makeInformer(kc, path, () => v1.listNamespacedConfigMap({ namespace }));
const heard = [];
for (const event of ['add', 'update', 'delete']) informer.on(event, (o) => heard.push(`${event} ${o.metadata.name}`));
informer.on('error', (e) => heard.push(`error ${e}`));
await informer.start();
await v1.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'w' } } });
await v1.deleteNamespacedConfigMap({ name: 'w', namespace });
check('watch', await soon(() => seen.length >= 2) && seen.join() === 'ADDED w,DELETED w', seen);
check('informer', await soon(() => heard.includes('delete w')) && heard.includes('add js') && heard.includes('add w'),
  heard);
watch.abort();
await informer.stop();

// A pod, what it says, and a command in it.
await v1.createNamespacedPod({ namespace, body: { metadata: { name: 'js' }, spec: { terminationGracePeriodSeconds: 1,
  containers: [{ name: 'main', image: 'host', command: ['sh', '-c', 'echo hello; while :; do sleep 1; done'] }] } } });
const ready = async () => (await v1.readNamespacedPod({ name: 'js', namespace })).status.conditions?.some(
  (c) => c.type === 'Ready' && c.status === 'True');
check('a pod runs', await soon(ready));
check('logs', await soon(async () => (await v1.readNamespacedPodLog({ name: 'js', namespace })) === 'hello\n'));
const out = new PassThrough(), err = new PassThrough(), input = new PassThrough();
const said = collected(out), complained = collected(err);
let verdict = null;
await new k8s.Exec(kc).exec(namespace, 'js', 'main', ['sh', '-c', 'read line; echo "got $line"; echo bad >&2; exit 3'],
  out, err, input, false, (status) => (verdict = status));
input.write('through\n');
check('exec', await soon(() => verdict !== null) && said.text === 'got through\n' && complained.text === 'bad\n' &&
  verdict.details.causes[0].message === '3', { said, complained, verdict });
await v1.deleteNamespacedPod({ name: 'js', namespace });
check('a pod is gone', await soon(async () => (await status_of(v1.readNamespacedPod({ name: 'js', namespace }))) === 404));
process.exit(0);
