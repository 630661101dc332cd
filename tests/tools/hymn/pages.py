"""Files as the reference's tool writes them, recorded (daemon section 5.3)."""

from __future__ import annotations

_USERS = """
run heaven-rx as nobody
run heaven-tx as nobody
run purgatory-rx as nobody
run purgatory-tx as nobody

run control as root
control /tmp/{name}.control root

run bishop as root
run bless as root
run confess as root
run chapel as root
run shrine as root
run pilgrim as root
run cathedral as root
"""

PLAIN = """# auto generated, do not edit
instance hymn-01-02
pidfile /var/run/hymn/hymn-01-02.pid
tunnel 10.77.0.1/30 auto
secret /etc/hymn/k
descr office

local 192.168.201.1:2333
peer 192.168.201.2:2333

""" + _USERS.format(name="hymn-01-02")

TAP = """# auto generated, do not edit
instance hymn-04-01
pidfile /var/run/hymn/hymn-04-01.pid
tap yes
bridge br0
tunnel 0.0.0.0/0 1400
shroud yes
secret /etc/hymn/k

local 0.0.0.0:0
peer 192.0.2.1:5

""" + _USERS.format(name="hymn-04-01")

CATHEDRAL = """# auto generated, do not edit
spi 0103
instance deadbeef-01-03
pidfile /var/run/hymn/deadbeefcafeba00:deadbeefcafebb00-01-03.pid
tunnel 192.168.10.1/24 1422
kek /etc/hymn/kek
secret /etc/hymn/deadbeefcafeba00-deadbeefcafebb00-01-03.secret

local 0.0.0.0:0
cathedral_id 30b4c39
cathedral_flock deadbeefcafeba00
cathedral_flock_dst deadbeefcafebb00
cathedral_secret /etc/hymn/cs
cathedral_cosk /etc/hymn/cosk
cathedral_nat_port 1235
cathedral 192.168.201.2:1234

peer 192.0.2.9:9

""" + _USERS.format(name="deadbeefcafeba00:deadbeefcafebb00-01-03")

LITURGY = """# auto generated, do not edit
mode liturgy
spi 0x01
instance 493abf95-liturgy
pidfile /var/run/hymn/493abf95a07e0c52-01-00.pid
liturgy_prefix 172.31.0.0
liturgy_group 0xcafe
liturgy_discoverable no
kek /etc/hymn/kek
descr choir

cathedral_id 30b4c39
cathedral_flock 493abf95a07e0c52
cathedral_flock_dst 0
cathedral_secret /etc/hymn/cs
cathedral_cosk /etc/hymn/cosk
cathedral_remembrance /etc/hymn/493abf95a07e0c52-01-00.remembrance
cathedral_nat_port 0
cathedral 127.0.0.1:4500

run liturgy as nobody
run purgatory-rx as nobody
run purgatory-tx as nobody

run bishop as root
"""

NAMES = {
    "hymn-01-02": PLAIN,
    "hymn-04-01": TAP,
    "deadbeefcafeba00:deadbeefcafebb00-01-03": CATHEDRAL,
    "493abf95a07e0c52-01-00": LITURGY,
}
