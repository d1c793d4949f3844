"""The attacks: programs that a commit could run in its tests, in training, or in its model.

Each calls ``got(...)`` where it reaches something that it must not. It knows where to aim, which a real commit would
have to guess: a secret and a file of the platform, a process of it, a port and a socket that it listens on.
"""

from __future__ import annotations

PRELUDE = """
import ctypes, errno, os, signal, socket, stat, struct, subprocess, sys, threading, time
from pathlib import Path
import json
AIM = json.load(open("aim.json"))
SECRET, FOREIGN, VICTIM, PORT, UNIX, HOME = (AIM[k] for k in ("secret", "foreign", "victim", "port", "unix", "home"))
MINE = os.getcwd()
libc = ctypes.CDLL(None, use_errno=True)

def got(what):
    print("GOT", what, flush=True)

def call(number, *arguments):
    words = [a if isinstance(a, (bytes, ctypes.Array)) or a is None else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def shows(path):
    return AIM["token"].encode() in Path(path).read_bytes()
"""

FILES = {
    "read a secret": "shows(SECRET) and got('the secret')",
    "read a secret through a symbolic link": "os.symlink(SECRET, 'a'); shows('a') and got('the secret')",
    "read a secret through a link to its folder": (
        "os.symlink(os.path.dirname(SECRET), 'b'); shows('b/' + os.path.basename(SECRET)) and got('the secret')"
    ),
    "take a secret with a hard link": "os.link(SECRET, 'c'); shows('c') and got('the secret')",
    "move a secret into the own folder": "os.rename(SECRET, 'd'); got('the secret')",
    "read a secret through /proc/self/root": "shows('/proc/self/root' + SECRET) and got('the secret')",
    "read a secret through the cwd of the parent": "shows(f'/proc/{os.getppid()}/root' + SECRET) and got('it')",
    "read a secret relative to the own folder": "shows(os.path.relpath(SECRET)) and got('the secret')",
    "open a secret by its path only (O_PATH)": (
        "fd = os.open(SECRET, os.O_PATH); shows(f'/proc/self/fd/{fd}') and got('the secret')"
    ),
    "list the folder of secrets": "os.listdir(os.path.dirname(SECRET)) and got('its names')",
    "list the platform's home": "os.path.basename(os.path.dirname(SECRET)) in os.listdir(HOME) and got('its names')",
    "read the password hashes of the machine": "open('/etc/shadow').read() and got('hashes')",
    "read keys of users": (
        "import glob, pwd\nfor user in pwd.getpwall():\n"
        "    for p in glob.glob(user.pw_dir + '/.ssh/*'): open(p).read() and got(p)"
    ),
    "overwrite a file of the platform": "open(FOREIGN, 'w').write('x')",
    "append to a file of the platform": "open(FOREIGN, 'a').write('x')",
    "cut a file of the platform": "os.truncate(FOREIGN, 0)",
    "remove a file of the platform": "os.unlink(FOREIGN)",
    "replace a file of the platform": "open('e', 'w').write('x'); os.replace('e', FOREIGN)",
    "create a file in the platform's home": "open(HOME + '/planted', 'w'); got('a file')",
    "create a file beside a secret": "open(SECRET + '.planted', 'w'); got('a file')",
    "create a folder in the platform's home": "os.mkdir(HOME + '/planted-folder'); got('a folder')",
    "create a device": "os.mknod('null', 0o666 | stat.S_IFCHR, os.makedev(1, 3)); open('null').read(); got('a device')",
    "change the mode of a file": "os.chmod(FOREIGN, 0o777)",
    "change the times of a file": "os.utime(FOREIGN, (1, 1))",
    "change the owner of a file": "os.chown(FOREIGN, 1234, 1234)",
    "set an attribute of a file": "os.setxattr(FOREIGN, 'user.planted', b'x')",
    "change the libraries of the own environment": (
        "import site\nfor p in [os.path.dirname(os.__file__), *site.getsitepackages()]:\n"
        "    try: open(p + '/planted.py', 'w'); os.unlink(p + '/planted.py'); got(p)\n    except OSError: pass"
    ),
    "leave a program that starts with Python": "open(os.path.expanduser('~') + '/../planted.pth', 'w'); got('a file')",
    "write kernel settings": "open('/proc/sys/kernel/core_pattern', 'w').write('|/bin/sh'); got('core_pattern')",
    "write to the memory of the kernel": "open('/dev/mem', 'r+b'); got('/dev/mem')",
    "press a key of the kernel": "open('/proc/sysrq-trigger', 'w').write('h'); got('sysrq')",
    "write to a disk": (
        "for d in ('sda', 'vda', 'nvme0n1', 'xvda', 'loop0'):\n    p = '/dev/' + d\n"
        "    if os.path.exists(p): open(p, 'r+b'); got(p)"
    ),
    "write to another process group's limits": (
        "import glob\nfor p in glob.glob('/sys/fs/cgroup/**/*.max', recursive=True)[:50]:\n"
        "    try: open(p, 'w').write('1'); got(p)\n    except OSError: pass"
    ),
}

PROCESSES = {
    "read another process's environment": "open(f'/proc/{VICTIM}/environ').read() and got('its environment')",
    "read another process's memory": "open(f'/proc/{VICTIM}/mem', 'rb').read(1); got('memory')",
    "read another process's files": "os.readlink(f'/proc/{VICTIM}/fd/0'); open(f'/proc/{VICTIM}/fd/0'); got('files')",
    "read the guard's environment": "b'EVERGREEN' in open(f'/proc/{os.getppid()}/environ','rb').read() and got('it')",
    "find the platform's keys in any process": (
        "for p in os.listdir('/proc'):\n    if p.isdigit() and int(p) != os.getpid():\n"
        "        try:\n            if AIM['token'].encode() in open(f'/proc/{p}/environ','rb').read(): got(p)\n"
        "        except OSError: pass"
    ),
    "find the platform's keys in any command line": (
        "for p in os.listdir('/proc'):\n    if p.isdigit():\n"
        "        try:\n            if AIM['token'].encode() in open(f'/proc/{p}/cmdline','rb').read(): got(p)\n"
        "        except OSError: pass"
    ),
    "debug another process": "call(101, 16, VICTIM, 0, 0); got('ptrace')",
    "read memory with process_vm_readv": (
        "b = ctypes.create_string_buffer(8)\n"
        "v = (ctypes.c_ulong * 2)(ctypes.addressof(b), 8); call(310, VICTIM, v, 1, v, 1, 0); got('memory')"
    ),
    "take a file of another process": "fd = call(434, VICTIM, 0); call(438, fd, 0, 0); got('a descriptor')",
    "kill another process": "os.kill(VICTIM, signal.SIGKILL)",
    "kill by a process descriptor": "fd = call(434, VICTIM, 0); call(424, fd, signal.SIGKILL, None, 0)",
    "kill a thread of another process": "call(234, VICTIM, VICTIM, signal.SIGKILL)",
    "queue a signal": "call(129, VICTIM, signal.SIGKILL, (ctypes.c_long * 16)())",
    "limit another process": "import resource\nresource.prlimit(VICTIM, resource.RLIMIT_CPU, (0, 0))",
    "slow another process down": "os.setpriority(os.PRIO_PROCESS, VICTIM, 19); got('its priority')",
    "move another process to one processor": "os.sched_setaffinity(VICTIM, [0]); got('its processors')",
    "change another process's scheduler": "os.sched_setscheduler(VICTIM, os.SCHED_IDLE, os.sched_param(0)); got('it')",
    "name another process to the memory killer": "open(f'/proc/{VICTIM}/oom_score_adj','w').write('1000'); got('it')",
    "become another user": "os.getuid() != 12345 and (os.setuid(12345), got('another user'))",
    "gain rights from a program": (
        "'NoNewPrivs:\\t1' in open('/proc/self/status').read() or got('programs with the set-user-id bit work')"
    ),
    "survive as a daemon": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(300)', AIM['survivor']])\n"
        "    os._exit(0)"
    ),
}

NETWORK = {
    "connect to a local service": (
        "s = socket.create_connection(('127.0.0.1', PORT), 2); s.send(b'x'); got('a connection')"
    ),
    "connect over IPv6": "socket.create_connection(('::1', PORT), 2); got('a connection')",
    "connect with Fast Open": (
        "s = socket.socket(); s.sendto(b'x', 0x20000000, ('127.0.0.1', PORT)); got('a connection')"
    ),
    "connect without blocking": (
        "s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', PORT)); time.sleep(0.3); "
        "s.send(b'x'); got('a connection')"
    ),
    "send a datagram": "s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', PORT))",
    "connect to a socket file": "s = socket.socket(socket.AF_UNIX); s.connect(UNIX); got('a connection')",
    "connect to an abstract socket": "s = socket.socket(socket.AF_UNIX); s.connect('\\0' + UNIX); got('a connection')",
    "ask the kernel about the network": (
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); s.bind((0, 0)); "
        "os.path.exists('/sys/class/net/eth0') and got('netlink')"
    ),
    "send raw packets": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); got('a raw socket')",
    "read packets of others": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3); got('a packet socket')",
    "talk to the hypervisor": "s = socket.socket(40, socket.SOCK_STREAM); s.connect((2, 1024)); got('vsock')",
    "reach the cloud's metadata": "socket.create_connection(('169.254.169.254', 80), 2); got('metadata')",
    "reach the internet": "socket.create_connection(('192.0.2.1', 80), 2); got('the internet')",
    "ask a name server": "socket.getaddrinfo('example.com', 80) and got('an address')",
    "be reached from outside": (
        "s = socket.socket(); s.bind(('127.0.0.1', AIM['free'])); s.listen(); s.settimeout(3)\n"
        "s.accept(); got('a client')"
    ),
}

KERNEL = {
    "make a user namespace": "call(272, 0x10000000); got('CLONE_NEWUSER')",
    "make a mount namespace": "call(272, 0x00020000); got('CLONE_NEWNS')",
    "make a network namespace": "call(272, 0x40000000); got('CLONE_NEWNET')",
    "enter another process's namespace": "fd = os.open(f'/proc/{VICTIM}/ns/mnt', 0); call(308, fd, 0); got('setns')",
    "mount a file system": "call(165, b'none', MINE.encode() + b'\\0', b'tmpfs\\0', 0, None); got('mount')",
    "unmount": "call(166, b'/proc\\0', 2); got('umount')",
    "change the root": "os.mkdir('root'); os.chroot('root'); got('chroot')",
    "use the kernel's key ring": "call(250, 0, -3, 0, 0, 0); got('keyctl')",
    "add a key": "call(248, b'user\\0', b'planted\\0', b'x', 1, -5); got('add_key')",
    "load a program into the kernel": "call(321, 0, (ctypes.c_char * 128)(), 128); got('bpf')",
    "count events of the processor": "call(298, (ctypes.c_char * 128)(), 0, -1, -1, 0); got('perf_event_open')",
    "handle page faults": "call(323, 0); got('userfaultfd')",
    "load a module": "call(313, 0, b'\\0', 0); got('finit_module')",
    "load another kernel": "call(246, 0, 0, None, 0); got('kexec_load')",
    "restart the machine": "call(169, 0xfee1dead, 672274793, 0x89abcdef, None); got('reboot')",
    "set the clock": "call(227, 0, (ctypes.c_long * 2)(1, 0)); got('clock_settime')",
    "set the host's name": "call(170, b'planted', 7); got('sethostname')",
    "use swap": "call(167, MINE.encode() + b'\\0', 0); got('swapon')",
    "count processes' calls": "call(163, MINE.encode() + b'/acct\\0'); got('acct')",
    "open a file by its handle": "call(304, -100, (ctypes.c_char * 128)(), 0); got('open_by_handle_at')",
    "watch the whole file system": "call(300, 0, 0); got('fanotify_init')",
    "read the kernel's log": "call(103, 3, ctypes.create_string_buffer(64), 64); got('syslog')",
    "change I/O ports": "call(172, 3); got('iopl')",
}

BOUNDS = {
    "fill all processes": (
        "made = 0\ntry:\n    for _ in range(3000):\n        if os.fork() == 0: time.sleep(60)\n        made += 1\n"
        "except OSError: pass\nmade >= 2900 and got(f'{made} processes')"
    ),
    "fill all memory": "b = []\nwhile len(b) < 6000: b.append(bytearray(2**20) + b'x')\ngot('6 GB')",
    "fill memory that nobody counts": (
        "import mmap\nm = [mmap.mmap(-1, 2**28) for _ in range(24)]\nfor one in m: one.write(b'x' * 2**28)\ngot('6 GB')"
    ),
    "fill the shared memory of the machine": (
        "f = open('/dev/shm/planted', 'wb')\nfor _ in range(6000): f.write(b'x' * 2**20)\ngot('6 GB')"
    ),
    "write one huge file": (
        "f = open('huge', 'wb')\nfor _ in range(40000):\n    f.seek(2**20, 1); f.write(b'x')\ngot('a file of 40 GB')"
    ),
    "fill the disk with files": ("for n in range(40):\n    open(f'big{n}', 'wb').write(b'x' * 2**28)\ngot('10 GB')"),
    "fill the disk with files that were removed": (
        "f = []\nfor n in range(40):\n    f.append(open('gone', 'wb')); f[-1].write(b'x' * 2**28); os.unlink('gone')\n"
        "got('10 GB')"
    ),
    "fill the disk deep down": (
        "for n in range(300): os.mkdir('d'); os.chdir('d')\n"
        "for n in range(40): open(f'big{n}', 'wb').write(b'x' * 2**28)\ngot('10 GB')"
    ),
    "fill the disk with output": "for n in range(40): os.write(1, b'x' * 2**28)\ngot('10 GB')",
    "open all files": "f = []\nwhile len(f) < 10**6: f.append(open('/dev/null'))\ngot('a million files')",
    "run for ever": "while True: pass",
    "kill everything": "os.kill(-1, signal.SIGKILL)",
}
"""Each of these is a job of its own, since it ends it."""

TOGETHER = {**FILES, **PROCESSES, **NETWORK, **KERNEL}
"""These run one after another in one job."""
