package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Units of openskr-workload, as make install and the guides have them.
const (
	serveUnit    = "openskr-workload.service"
	socketUnit   = "openskr-workload.socket"
	runUnit      = "app.service"
	identityUnit = "identity.service"
)

// Sockets of the API: that of docs/sidecar.md, and that of openskr-workload.socket.
const (
	apiSocket       = "/run/openskr-workload/api.sock"
	activatedSocket = "/run/openskr-workload.sock"
)

// console is where it says what it found.
type console func(format string, args ...any)

// units puts the units of openskr-workload to work under this machine's systemd, beside
// swap that is not encrypted, and says what became of each.
func units(say console) {
	if _, err := os.Stat("/usr/bin/openskr-workload"); err != nil {
		return // a small root
	}
	began := time.Now()
	heard, err := listen()
	err = errors.Join(err, os.WriteFile("/proc/sys/kernel/printk", []byte("1"), 0), plainSwap()) // no line of the kernel's in ours
	if err != nil {
		say("units: %v", err)
		return
	}
	served(say)
	say("%s: start: %s", identityUnit, command("systemctl", "start", identityUnit))
	say("%s: %s", identityUnit, heard(identityUnit))
	ran(say, heard)
	stopped(say, heard)
	activated(say)
	say("failed units: %s", command("systemctl", "list-units", "--failed", "--plain", "--no-legend"))
	say("swap off: %s", command("swapoff", "/dev/nvme0n1"))
	say("the units took %.1f s", time.Since(began).Seconds())
}

// command gives what a command says, ok for nothing, and how it ended when it did not end
// well.
func command(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		said = strings.TrimSpace(said + " " + err.Error())
	} else if said == "" {
		said = "ok"
	}
	return strings.ReplaceAll(said, "\n", "; ")
}

// state is what systemd says of a unit.
func state(unit string) string {
	return strings.ReplaceAll(command("systemctl", "show", "--property=ActiveState,Result,NRestarts", unit), "; ", " ")
}

// plainSwap turns swap on that a host could read.
func plainSwap() error {
	for _, name := range []string{"mkswap", "swapon"} {
		if out, err := exec.Command(name, "/dev/nvme0n1").CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, out)
		}
	}
	return nil
}

// served looks at `serve`, which was started at boot, and asks it as its caller and as
// those that it is to refuse.
func served(say console) {
	url, _, err := trust()
	if err != nil {
		say("agent.json: %v", err)
		return
	}
	broker := strings.TrimPrefix(url, "https://")
	say("%s: start: %s", serveUnit, command("systemctl", "start", serveUnit)) // waits for the boot's own
	say("%s: %s", serveUnit, state(serveUnit))
	say("%s: %s", serveUnit, confinement(serveUnit))
	say("check beside it: %s", command("openskr-workload", "serve", "--check"))
	release := fmt.Sprintf(`{"maa_endpoint":%q,"akv_endpoint":%q,"kid":"blobs"}`, broker, broker)
	other := strings.Replace(release, "blobs", "debian", 1)
	for _, who := range []struct{ user, group, body string }{
		{"app", "openskr-clients", release},
		{"app", "openskr-clients", other},
		{"nobody", "openskr-clients", release},
		{"nobody", "nogroup", release},
	} {
		say("asks as %s in %s: %s", who.user, who.group, asks(who.user, who.group, apiSocket, "/key/release", who.body))
	}
	out := command("systemd-analyze", "security", "--no-pager", serveUnit, "openskr-agent.service", "openskr-header@root.service", "openskr-cap@root.service")
	for part := range strings.SplitSeq(out, "; ") {
		if strings.Contains(part, "Overall exposure") {
			say("%s", part)
		}
	}
}

// ran starts, restarts and stops the program of docs/secrets.md.
func ran(say console, heard hearing) {
	for _, verb := range []string{"start", "restart"} {
		say("%s: %s: %s", runUnit, verb, command("systemctl", verb, runUnit))
		say("%s: %s", runUnit, heard(runUnit))
		say("%s: after %s: %s", runUnit, verb, state(runUnit))
	}
	say("%s: stop: %s", runUnit, command("systemctl", "stop", runUnit))
	say("%s: after stop: %s", runUnit, state(runUnit))
	_, err := os.Stat("/run/app")
	say("%s: its folder: %v", runUnit, err)
}

// stopped restarts and stops `serve`; what is bound to it goes with it.
func stopped(say console, heard hearing) {
	say("%s: restart: %s", serveUnit, command("systemctl", "restart", serveUnit))
	say("%s: after restart: %s", serveUnit, state(serveUnit))
	say("%s: after restart: %s", identityUnit, heard(identityUnit))
	say("status: %s", asks("app", "openskr-clients", apiSocket, "/status"))
	say("%s: stop: %s", serveUnit, command("systemctl", "stop", serveUnit))
	say("%s: after stop: %s", serveUnit, state(serveUnit))
	say("%s: after stop: %s", identityUnit, state(identityUnit))
	_, err := os.Stat(apiSocket)
	say("%s: its socket: %v", serveUnit, err)
}

// activated has systemd make the socket, and start `serve` when somebody asks.
func activated(say console) {
	if err := os.Rename("/etc/openskr/activated.json", "/etc/openskr/workload.json"); err != nil {
		say("%s: %v", socketUnit, err)
		return
	}
	say("%s: start: %s", socketUnit, command("systemctl", "start", socketUnit))
	say("%s: before: %s", serveUnit, command("systemctl", "is-active", serveUnit))
	say("activated: %s", asks("app", "openskr-clients", activatedSocket, "/status"))
	say("activated, as nobody: %s", asks("nobody", "nogroup", activatedSocket, "/status"))
	say("%s: activated: %s", serveUnit, command("systemctl", "is-active", serveUnit))
	say("%s: stop: %s", socketUnit, command("systemctl", "stop", socketUnit, serveUnit))
}
