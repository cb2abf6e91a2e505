#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python client of Kubernetes (Debian's python3-kubernetes) against a cluster: a client that shares nothing with
client-go. Prints a line for each thing that worked; the first that does not ends it with a traceback.

usage: python_client.py KUBECONFIG talk          everything that needs one controller and a node
       python_client.py KUBECONFIG expired RV    a watch from a revision that the server has forgotten
"""
import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

NS = 'default'


def check(name, holds, what=''):
    if not holds:
        raise AssertionError(f'{name}: {what}')
    print('ok', name, flush=True)


def refused(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as e:
        return e.status == status
    return False


def pod(name, command):
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels={'made-by': 'python'}),
        spec=client.V1PodSpec(
            termination_grace_period_seconds=1,
            containers=[client.V1Container(name='main', image='host', command=command)]))


def patch(path, kind, body):
    return client.ApiClient().call_api(
        path, 'PATCH', header_params={'Content-Type': f'application/{kind}+json', 'Accept': 'application/json'},
        body=body, response_type='object', _return_http_data_only=True)


def objects(v1):
    made = v1.create_namespaced_config_map(NS, client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name='py', labels={'a': '1'}), data={'x': '1', 'y': '2'}))
    check('create', made.metadata.uid and made.data == {'x': '1', 'y': '2'}, made)
    check('create twice is a conflict', refused(409, v1.create_namespaced_config_map, NS, made.to_dict()))
    check('get', v1.read_namespaced_config_map('py', NS).metadata.uid == made.metadata.uid)
    check('get what is not there', refused(404, v1.read_namespaced_config_map, 'nobody', NS))
    listed = v1.list_namespaced_config_map(NS, label_selector='a in (1,2),!b')
    check('list by labels', [c.metadata.name for c in listed.items] == ['py'], listed)
    check('list by fields', len(v1.list_namespaced_config_map(NS, field_selector='metadata.name=py').items) == 1)
    check('a bad selector', refused(400, v1.list_namespaced_config_map, NS, field_selector='data.x=1'))
    path = f'/api/v1/namespaces/{NS}/configmaps/py'
    check('merge patch', patch(path, 'merge-patch', {'data': {'x': '3', 'y': None}})['data'] == {'x': '3'})
    check('JSON patch', patch(path, 'json-patch', [{'op': 'test', 'path': '/data/x', 'value': '3'},
                                                   {'op': 'add', 'path': '/data/z', 'value': '4'}])['data'] ==
          {'x': '3', 'z': '4'})
    check('a JSON patch whose test fails',
          refused(422, patch, path, 'json-patch', [{'op': 'test', 'path': '/data/x', 'value': 'no'}]))
    service = v1.create_namespaced_service(NS, client.V1Service(
        metadata=client.V1ObjectMeta(name='py'),
        spec=client.V1ServiceSpec(ports=[client.V1ServicePort(name='a', port=80),
                                         client.V1ServicePort(name='b', port=81)])))
    ports = patch(f'/api/v1/namespaces/{NS}/services/py', 'strategic-merge-patch',
                  {'spec': {'ports': [{'port': 81, 'name': 'c'}]}})['spec']['ports']
    names = sorted((p['name'], p['port']) for p in ports)
    check('strategic patch merges by key', names == [('a', 80), ('c', 81)], ports)
    stale = v1.read_namespaced_service('py', NS)
    stale.metadata.resource_version = service.metadata.resource_version
    check('a stale replace is a conflict', refused(409, v1.replace_namespaced_service, 'py', NS, stale))
    check('dry run', v1.delete_namespaced_service('py', NS, dry_run='All') and v1.read_namespaced_service('py', NS))
    v1.delete_namespaced_service('py', NS)
    check('delete', refused(404, v1.read_namespaced_service, 'py', NS))


def watches(v1):
    start = v1.list_namespaced_config_map(NS).metadata.resource_version
    seen = []

    def follow():
        for event in watch.Watch().stream(v1.list_namespaced_config_map, NS, resource_version=start,
                                          timeout_seconds=30):
            seen.append((event['type'], event['object'].metadata.name, event['object'].metadata.resource_version))
            if event['type'] == 'DELETED':
                return

    thread = threading.Thread(target=follow)
    thread.start()
    v1.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(name='w')))
    v1.patch_namespaced_config_map('w', NS, {'data': {'k': 'v'}})
    v1.delete_namespaced_config_map('w', NS)
    thread.join(20)
    check('watch', [s[:2] for s in seen] == [('ADDED', 'w'), ('MODIFIED', 'w'), ('DELETED', 'w')], seen)
    # From the middle: what came after it, and nothing before it.
    rest = [(e['type'], e['object'].metadata.name) for e in watch.Watch().stream(
        v1.list_namespaced_config_map, NS, resource_version=seen[0][2], timeout_seconds=1)]
    check('watch resumes', rest == [('MODIFIED', 'w'), ('DELETED', 'w')], rest)
    present = [e['object'].metadata.name for e in watch.Watch().stream(v1.list_namespaced_config_map, NS,
                                                                        timeout_seconds=1)]
    check('watch from nothing shows what is there', 'py' in present, present)
    pages, more = [], None
    for i in range(5):
        v1.create_namespaced_config_map(NS, client.V1ConfigMap(metadata=client.V1ObjectMeta(generate_name='page-')))
    while True:
        page = v1.list_namespaced_config_map(NS, limit=2, _continue=more)
        pages.append(len(page.items))
        more = page.metadata._continue
        if not more:
            break
    check('pages', sum(pages) == len(v1.list_namespaced_config_map(NS).items) and max(pages) == 2, pages)


def pods(v1):
    v1.create_namespaced_pod(NS, pod('py', ['sh', '-c', 'echo hello; echo world; while :; do sleep 1; done']))
    for event in watch.Watch().stream(v1.list_namespaced_pod, NS, field_selector='metadata.name=py',
                                      timeout_seconds=30):
        ready = [c for c in event['object'].status.conditions or [] if c.type == 'Ready' and c.status == 'True']
        if ready:
            break
    check('a pod runs', ready)
    for _ in range(50):
        text = v1.read_namespaced_pod_log('py', NS)
        if 'world' in text:
            break
        time.sleep(0.1)
    check('logs', text == 'hello\nworld\n', text)
    check('logs, the tail', v1.read_namespaced_pod_log('py', NS, tail_lines=1) == 'world\n')
    said = stream(v1.connect_get_namespaced_pod_exec, 'py', NS, command=['sh', '-c', 'echo out; echo err >&2; exit 3'],
                  stderr=True, stdin=False, stdout=True, tty=False, _preload_content=False)
    said.run_forever(timeout=10)
    check('exec', (said.read_stdout(), said.read_stderr(), said.returncode) == ('out\n', 'err\n', 3))
    cat = stream(v1.connect_get_namespaced_pod_exec, 'py', NS, command=['head', '-n', '1'], stderr=True, stdin=True,
                 stdout=True, tty=False, _preload_content=False)
    cat.write_stdin('through\n')
    check('exec, stdin', cat.readline_stdout(timeout=10) == 'through')
    cat.close()
    v1.delete_namespaced_pod('py', NS)
    for _ in range(100):
        if refused(404, v1.read_namespaced_pod, 'py', NS):
            break
        time.sleep(0.1)
    check('a pod is gone', refused(404, v1.read_namespaced_pod, 'py', NS))


def events(v1):
    about = client.V1ObjectReference(kind='ConfigMap', name='py', namespace=NS)
    v1.create_namespaced_event(NS, client.CoreV1Event(
        metadata=client.V1ObjectMeta(name='py.1'), involved_object=about, reason='Tried', message='from Python',
        type='Normal', source=client.V1EventSource(component='python')))
    found = v1.list_namespaced_event(NS, field_selector='involvedObject.name=py').items
    check('events', any(e.message == 'from Python' for e in found), found)


def main():
    config.load_kube_config(config_file=sys.argv[1])
    v1 = client.CoreV1Api()
    if sys.argv[2] == 'expired':
        try:
            for _ in watch.Watch().stream(v1.list_namespaced_event, NS, resource_version=sys.argv[3],
                                          timeout_seconds=5):
                pass
            check('a forgotten revision', False, 'no error came')
        except ApiException as e:
            check('a forgotten revision is 410', e.status == 410, e)
        check('and a new list goes on', v1.list_namespaced_event(NS).metadata.resource_version)
        return
    beginning = v1.list_namespaced_event(NS).metadata.resource_version
    check('version', client.VersionApi().get_code().major == '1')
    objects(v1)
    watches(v1)
    pods(v1)
    events(v1)
    print('revision', beginning)


main()
