package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/openskr/openskr/internal/deployment"
	"github.com/openskr/openskr/internal/seal"
	"github.com/openskr/openskr/internal/store/sqlite"
)

func newBackupCmd(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use: "backup", Short: "Copy the store, and prove that the copy is good",
		Long: `A backup holds everything but the root key: keys in it open with the root key or a
recovery identity only, so it can lie where others read it. Drill it: openskr backup
verify, and from time to time openskr restore into an empty folder.`,
	})
	cmd.AddCommand(newBackupCreateCmd(a), newBackupVerifyCmd(a))
	return cmd
}

func newBackupCreateCmd(a *app) *cobra.Command {
	var data, out string
	cmd := &cobra.Command{
		Use: "create", Short: "Copy the store while the broker works", Args: exactArgs(),
		Example: "  openskr backup create --data /var/lib/openskr --out /backup/openskr-2027-01-31.db",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" || out == "" {
				return usagef("--data DIR and --out FILE are needed")
			}
			db := filepath.Join(data, deployment.Database)
			if _, err := os.Stat(db); err != nil {
				return unreadable(err)
			}
			if _, err := os.Lstat(out); err == nil {
				return usagef("%s exists: a backup overwrites nothing", out)
			}
			st, err := sqlite.OpenCopy(cmd.Context(), db)
			if err != nil {
				return err
			}
			defer st.Close()
			if err := st.Backup(cmd.Context(), out); err != nil {
				return err
			}
			if a.json {
				return printJSON(a.stdout, map[string]string{"backup": out})
			}
			_, err = fmt.Fprintf(a.stdout, "backup in %s; prove it with `openskr backup verify %s --identity FILE`\n", out, out)
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`DIR` of the broker")
	cmd.Flags().StringVar(&out, "out", "", "new `FILE`")
	return cmd
}

// opener opens a deployment with a recovery identity or the root key.
func (a *app) opener(identity, kek string) (deployment.Opener, error) {
	switch {
	case (identity == "") == (kek == ""):
		return nil, usagef("what opens it? Give --identity FILE or --kek FILE")
	case kek != "":
		k, err := seal.File(kek)
		if err != nil {
			return nil, unreadable(err)
		}
		return deployment.WithKEK(k), nil
	}
	ids, err := a.identities(identity)
	if err != nil {
		return nil, err
	}
	return deployment.WithIdentities(ids...), nil
}

func newBackupVerifyCmd(a *app) *cobra.Command {
	var identity, kek, tmp string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Open a backup and check everything in it", Args: exactArgs("FILE"),
		Long: `Opens a copy of the backup, verifies its log from the first entry to the checkpoint,
and opens every key version. The file itself is not changed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err != nil {
				return unreadable(err)
			}
			open, err := a.opener(identity, kek)
			if err != nil {
				return err
			}
			r, err := deployment.VerifyBackup(cmd.Context(), args[0], open, tmp)
			if err != nil {
				return refused(err)
			}
			return a.printReport("verified", r)
		},
	}
	cmd.Flags().StringVar(&identity, "identity", "", "`FILE` with a recovery identity (age), - for stdin")
	cmd.Flags().StringVar(&kek, "kek", "", "root key `FILE`, instead of an identity")
	cmd.Flags().StringVar(&tmp, "tmp", "", "`DIR` for the working copy (default: the system's)")
	return cmd
}

func (a *app) printReport(what string, r *deployment.Report) error {
	if a.json {
		return printJSON(a.stdout, r)
	}
	_, err := fmt.Fprintf(a.stdout, "%s: deployment %s, %d log entries, keys: %d, secrets: %d, versions: %d\n", what, r.Deployment, r.Entries, r.Keys, r.Secrets, r.Versions)
	return err
}

func newRestoreCmd(a *app) *cobra.Command {
	var file, dir, identity, kek, config, listen, highWater string
	var hosts []string
	cmd := &cobra.Command{
		Use: "restore", Short: "Make a broker's folder from a backup", Args: exactArgs(),
		Long: `Restores a backup into an empty folder, with a recovery identity, under a new root key
that it makes. The deployment stays the same: agents keep their agent.json. What happened
after the backup is not in it, and neither is the configuration: give that of the lost
broker, or at least its --host names, which every key URL carries. Whoever holds a newer checkpoint will see that, and so
will you: compare with the last one you kept.`,
		Example: "  openskr restore --backup openskr.db --identity recovery-1.txt --data /var/lib/openskr --kek /etc/openskr/root.key \\\n    --config openskr.yaml.saved",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" || dir == "" || kek == "" {
				return usagef("--backup FILE, --data DIR and --kek FILE are needed")
			}
			if (config == "") == (len(hosts) == 0) {
				return usagef("which names do clients use? Give --config FILE of the lost broker, or --host NAME…")
			}
			if _, err := os.Stat(file); err != nil {
				return unreadable(err)
			}
			ids, err := a.identities(identity)
			if err != nil {
				return err
			}
			if listen == "" {
				listen = listenFor(hosts)
			}
			cfg := &Config{Listen: listen, Hosts: hosts}
			if config != "" {
				if cfg, err = loadConfig(dir, config); err != nil {
					return unreadable(err)
				}
			} else if err := cfg.complete(); err != nil {
				return usagef("%w", err)
			}
			if highWater != "" {
				if cfg.HighWater, err = filepath.Abs(highWater); err != nil {
					return err
				}
			}
			return a.restore(cmd.Context(), file, dir, kek, cfg, deployment.WithIdentities(ids...))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&file, "backup", "", "`FILE` of `openskr backup create`")
	fl.StringVar(&dir, "data", "", "new or empty `DIR`")
	fl.StringVar(&identity, "identity", "", "`FILE` with a recovery identity (age), - for stdin")
	fl.StringVar(&kek, "kek", "", "new root key `FILE`, outside DIR")
	fl.StringVar(&config, "config", "", "configuration `FILE` of the lost broker, to go on with (its kek is replaced)")
	fl.StringVar(&highWater, "high-water", "", "`FILE` of the high-water mark, written anew (default: high_water of --config)")
	fl.StringSliceVar(&hosts, "host", nil, "`NAME[:PORT]` of the lost broker, without --config; may be repeated")
	fl.StringVar(&listen, "listen", "", "`HOST:PORT` to listen on, with --host (default as for init)")
	return cmd
}

func (a *app) restore(ctx context.Context, file, dir, kek string, cfg *Config, open deployment.Opener) error {
	var err error
	if cfg.KEK, err = filepath.Abs(kek); err != nil {
		return err
	}
	r, err := deployment.Restore(ctx, open, deployment.RestoreOptions{File: file, Dir: dir, KEKPath: kek, HighWater: cfg.HighWater, Now: time.Now})
	if err != nil {
		return err
	}
	if err := cfg.write(dir, "restore"); err != nil {
		return err
	}
	if err := a.printReport("restored", r); err != nil || a.json {
		return err
	}
	fmt.Fprintf(a.stdout, "\nBefore it serves: the lost broker must not run any more, and what it did after the backup is not in here.\n")
	a.tellNext(dir, cfg, "FILE    # that of the lost broker")
	return nil
}
