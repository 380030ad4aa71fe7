"""What kernels say of NFS. Recorded on a Debian 12 machine (Linux 6.1.0-56) that was its own server, 2026-11-23, and shortened; or written after the
format strings of the kernel version that is named."""

MOUNTINFO = """\
27 1 9:0 / / rw,relatime shared:1 - ext4 /dev/md0 rw
217 23 0:41 / /proc/fs/nfsd rw,relatime shared:115 - nfsd nfsd rw
225 27 0:44 / /mnt/data rw,relatime shared:117 - nfs4 127.0.0.1:/srv/data rw,vers=4.2,rsize=524288,wsize=524288,namlen=255,hard,proto=tcp,nconnect=2,\
timeo=600,retrans=2,sec=sys,clientaddr=127.0.0.1,fsc,local_lock=none,addr=127.0.0.1
229 27 0:42 / /mnt/two\\040words rw,nosuid,noatime shared:125 - nfs [::1]:/srv/data rw,vers=3,rsize=65536,wsize=65536,namlen=255,acregmin=30,acregmax=30,\
acdirmax=30,soft,proto=tcp6,nconnect=2,timeo=100,retrans=2,sec=sys,mountaddr=::1,mountvers=3,mountport=60052,mountproto=udp6,local_lock=none,addr=::1
"""

MOUNTSTATS = """\
device /dev/md0 mounted on / with fstype ext4
device 127.0.0.1:/srv/data mounted on /mnt/data with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=524288,wsize=524288,namlen=255,hard,proto=tcp,nconnect=2,timeo=600,retrans=2,sec=sys,clientaddr=127.0.0.1,fsc,local_lock=none
\tage:\t17
\timpl_id:\tname='',domain='',date='0,0'
\tcaps:\tcaps=0xfffbc0bf,wtmult=512,dtsize=524288,bsize=0,namlen=255
\tnfsv4:\tbm0=0xfdffbfff,bm1=0x40fdbe3e,bm2=0x60803,acl=0x3,sessions,pnfs=not configured,lease_time=90,lease_expired=0
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t0 0 0 0 0 0 6 0 0 32 0 0 0 0 2 0 0 2 0 0 0 0 0 0 0 0 0\x20
\tbytes:\t16777216 0 0 0 8388608 0 2048 0\x20
\tfsc:\t2048 2048 0 2048 2048\x20
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 0 0 2 0 0 224 223 0 567 0 11 11 272
\txprt:\ttcp 820 1 2 0 0 21 21 0 21 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 4 6 10 0
\t        READ: 16 16 0 3200 8390272 12 66 97 0
\t       WRITE: 0 0 0 0 0 0 0 0 0
"""

VOLUMES = """\
NV SERVER   PORT DEV          FSID                              FSC
v4 7f000001  801 0:44         5afe1ab000004000:8000000000000001 yes
v3 00000000000000000000000000000001  801 0:42         1400000b01afeda:0                 no\x20
"""

CALLS = """\
net 0 0 0 0
rpc 49 3 52
proc4 69 1 16 0 0 1
"""

CACHE_IN_USE = """\
CACHE    REF   VOLS  OBJS  ACCES S NAME
======== ===== ===== ===== ===== = ===============
00000002     2     1     1     1 A mycache
"""

#: A mount with fsc, and no cachefilesd.
CACHE_ABSENT = """\
CACHE    REF   VOLS  OBJS  ACCES S NAME
======== ===== ===== ===== ===== = ===============
00000001     1     1     0     0 - -
"""

CACHE_STATISTICS = """\
FS-Cache statistics
Cookies: n=1 v=1 vcol=0 voom=0
Acquire: n=3 ok=3 oom=0
LRU    : n=1 exp=0 rmv=0 drp=1 at=684
IO     : rd=4096 wr=2048
RdHelp : RA=0 RP=0 WB=0 WBZ=0 rr=0 sr=0
RdHelp : ZR=0 sh=0 sk=0
RdHelp : DL=0 ds=0 df=0 di=0
RdHelp : RD=0 rs=0 rf=0
"""

#: fs/fscache/stats.c of 4.15 to 5.16.
CACHE_STATISTICS_OLD = """\
FS-Cache statistics
Cookies: idx=153 dat=58 spc=0
Objects: alc=68 nal=0 avl=68 ded=39
ChkAux : non=0 ok=24 upd=0 obs=0
Retrvls: n=40 ok=30 wt=3 nod=10 nbf=0 int=0 oom=0
Retrvls: ops=38 owt=2 abt=0
"""

#: fs/netfs/stats.c of 6.8, and as it was titled anew for 6.12.
CACHE_STATISTICS_68 = """\
Netfs  : DR=0 DW=0 RA=12 RP=0 WB=0 WBZ=0
Netfs  : ZR=0 sh=0 sk=0
Netfs  : DL=1 ds=1 df=0 di=0
Netfs  : RD=3 rs=3 rf=0
FS-Cache statistics
Cookies: n=1 v=1 vcol=0 voom=0
IO     : rd=3 wr=1 mis=0
"""
CACHE_STATISTICS_612 = CACHE_STATISTICS_68.replace("Netfs  : DL", "DownOps: DL").replace("Netfs  : RD", "CaRdOps: RD").replace("Netfs  ", "Reads  ")

#: 8 threads, then 1 while eight programs read, then 16.
POOLS = "# pool packets-arrived sockets-enqueued threads-woken threads-timedout\n0 {0} {0} {1} 0\n"

NFSD = """\
rc 2 0 312
fh 0 0 0 0 0
io 50302976 4096
th 16 0 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000
ra 0 0 0 0 0 0 0 0 0 0 0 0
net 315 0 316 9
rpc 312 3 0 3 0
proc3 22 2 2 0 0
"""

ETAB = """\
/srv/data\t127.0.0.1(rw,async,wdelay,hide,nocrossmnt,secure,no_root_squash,no_all_squash,no_subtree_check,secure_locks,acl,no_pnfs,anonuid=65534,\
anongid=65534,sec=sys,rw,secure,no_root_squash,no_all_squash)
/srv/two\\040words\t*(ro,sync,wdelay,root_squash)
"""

CLIENT = """\
clientid: 0x6b3662326b03d723
address: "127.0.0.1:931"
status: confirmed
seconds from last renew: 1
name: "Linux NFSv4.2 dgx01"
minor version: 2
Implementation domain: "kernel.org"
"""
