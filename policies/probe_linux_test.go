package policies

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// probe runs in a child of its own: it confines itself and shows or tries the limits.
func probe(what string) int {
	if confine() != nil || limitCPU(1) != nil {
		return 3
	}
	switch what {
	case "limits":
		for name, resource := range map[string]int{
			"data": unix.RLIMIT_DATA, "file size": unix.RLIMIT_FSIZE, "core": unix.RLIMIT_CORE, "open files": unix.RLIMIT_NOFILE, "cpu": unix.RLIMIT_CPU,
		} {
			var l unix.Rlimit
			if err := unix.Getrlimit(resource, &l); err != nil || l.Cur != l.Max {
				return 4
			}
			fmt.Println(name, l.Max)
		}
		flag, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		if err != nil {
			return 4
		}
		fmt.Println("no new privileges", flag)
		return 0
	case "memory":
		hoard := make([][]byte, 0, 64)
		for range 64 {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			hoard = append(hoard, b)
		}
		fmt.Println("survived", len(hoard))
	case "stack":
		fmt.Println("survived", deeper(1<<30))
	case "cpu":
		n := uint64(1)
		for i := uint64(0); i < 1<<36; i++ {
			n = n*31 + i
		}
		fmt.Println("survived", n)
	}
	return 0
}

func deeper(n int) int {
	if n == 0 {
		return 0
	}
	var pad [128]byte
	pad[n%128] = 1
	return deeper(n-1) + int(pad[(n+1)%128])
}
