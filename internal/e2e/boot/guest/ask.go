package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// ask sends a body to the API on a socket, as curl does: ask SOCKET PATH [BODY].
func ask(args []string) {
	socket, path := args[0], args[1]
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	var answer *http.Response
	var err error
	if len(args) > 2 {
		answer, err = client.Post("http://localhost"+path, "application/json", strings.NewReader(args[2]))
	} else {
		answer, err = client.Get("http://localhost" + path)
	}
	if errors.Is(err, syscall.EACCES) {
		fmt.Println("not let in")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	fmt.Println(answer.StatusCode, shown(b), err)
}

// shown is an answer without its key.
func shown(b []byte) string {
	var released struct{ Key string }
	if json.Unmarshal(b, &released) != nil || released.Key == "" {
		return strings.TrimSpace(string(b))
	}
	var jwk struct{ K string }
	if err := json.Unmarshal([]byte(released.Key), &jwk); err != nil {
		return "a key that is no JWK"
	}
	k, err := base64.RawURLEncoding.DecodeString(jwk.K)
	return fmt.Sprintf("key %s %v", digest(k), err)
}

// asks is one request by a user with one group beside his own.
func asks(who, group, socket string, request ...string) string {
	u, err := user.Lookup(who)
	if err != nil {
		return err.Error()
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return err.Error()
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"ask", socket}, request...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: number(u.Uid), Gid: number(u.Gid), Groups: []uint32{number(g.Gid)}}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s %v", out, err)
	}
	return strings.TrimSpace(string(out))
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return ^uint32(0) // nobody has it
	}
	return uint32(n)
}
