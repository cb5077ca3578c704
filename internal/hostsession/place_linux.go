// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package hostsession

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cardbroker/cardbroker"
)

// Place is where a process stands among the sessions of its user.
type Place struct {
	Session cardbroker.SessionID // of logind, else of the kernel's audit; empty: of none
	Display string               // as [OwnDisplay] has it; empty: none is known. An agent's is its own word

	above  []process // the process and those above it, as long as they are the user's and not left behind
	adrift bool      // it, or what it was started by, has been left behind: where it came from is not known any more
}

// Unknown is the place of a process of which nothing is known: it may be anywhere.
func Unknown() Place { return Place{adrift: true} }

// PlaceOf returns the place of the user's process that has the pid now; false: it is not the user's, or has ended.
func PlaceOf(pid int, user cardbroker.UserID) (Place, bool) {
	chain := ancestors(pid)
	if len(chain) == 0 {
		return Place{}, false
	}
	place := Place{}
	for i, s := range chain {
		if uid, ok := userOf(s.pid); !ok || uid != user.UID {
			if i == 0 {
				return Place{}, false
			}
			break
		}
		if s.parent <= 1 { // what init has adopted, or a user manager: it may serve several sessions
			place.adrift = true
			break
		}
		place.above = append(place.above, s.process)
	}
	place.Session, _ = ofProcess(strconv.Itoa(pid))
	place.Display = displayOf(pid)
	return place, chain[0].lives()
}

// maxEnviron is how much of an environment is looked at, in bytes.
const maxEnviron = 256 << 10

// displayOf returns the display of a process by its environment. Only root and, of programs that are dumpable, their own user
// may see that.
func displayOf(pid int) string {
	environ := beginningOf("/proc/" + strconv.Itoa(pid) + "/environ")
	return displayIn(func(name string) string {
		for entry := range bytes.SplitSeq(environ, []byte{0}) {
			if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
				return string(value)
			}
		}
		return ""
	})
}

// beginningOf returns the first maxEnviron bytes of a file, and reads no more: a process may point its environment at as much memory as it
// likes, prctl(2) PR_SET_MM_MAP.
func beginningOf(path string) []byte {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	text, _ := io.ReadAll(io.LimitReader(file, maxEnviron))
	return text
}

// displayIn returns the display that an environment names: of X on this host, else of X that ssh passes on from here, else the socket of a
// Wayland compositor. Its name alone would be that of others in other directories, too.
func displayIn(getenv func(name string) string) string {
	x := getenv("DISPLAY")
	if name := displayName(x); name != "" {
		return name
	}
	if number, ok := strings.CutPrefix(x, "localhost"); ok && displayName(number) != "" {
		return "localhost" + displayName(number)
	}
	wayland := getenv("WAYLAND_DISPLAY")
	if wayland != "" && !filepath.IsAbs(wayland) {
		wayland = filepath.Join(getenv("XDG_RUNTIME_DIR"), wayland)
	}
	if x != "" || !filepath.IsAbs(wayland) { // X of another host: who has both has his windows there
		return ""
	}
	return filepath.Clean(wayland)
}

// displayName returns the display without its screen, ":10" for ":10.0"; empty for one that is not on this host.
func displayName(display string) string {
	number, ok := strings.CutPrefix(display, ":")
	number, _, _ = strings.Cut(number, ".")
	if n, err := strconv.ParseUint(number, 10, 16); !ok || err != nil {
		return ""
	} else {
		return ":" + strconv.FormatUint(n, 10)
	}
}

// OwnDisplay returns the display that this process's environment names: ":10" of X on this host, "localhost:10" of an ssh -X to it, else
// the path of a Wayland compositor's socket; empty: none.
func OwnDisplay() string { return displayIn(os.Getenv) }

// Nearest says which of several places of one user is in the session of the first: by the session that the system names,
// else by the nearest process above both, else by the display. Where several are alike in one of these, the next tells among
// them: a session may have several displays. It is false where that is none or not one alone: nobody is to guess.
func Nearest(of Place, among []Place) (int, bool) {
	candidates := make([]int, 0, len(among))
	for i, p := range among {
		if of.Session == "" || p.Session == "" || p.Session == of.Session {
			candidates = append(candidates, i) // the others are in another session for certain
		}
	}
	for _, fits := range []func(Place) int{
		func(p Place) int { return equal(of.Session, p.Session) },
		nearness(of, among, candidates),
		func(p Place) int { return equal(of.Display, p.Display) },
	} {
		best, alike := 0, []int(nil)
		for _, i := range candidates {
			switch n := fits(among[i]); {
			case n > best:
				best, alike = n, []int{i}
			case n == best && n > 0:
				alike = append(alike, i)
			}
		}
		switch len(alike) {
		case 0:
		case 1:
			return alike[0], true
		default:
			candidates = alike
		}
	}
	return 0, false
}

func equal[T ~string](a, b T) int {
	if a != "" && a == b {
		return 1
	}
	return 0
}

// nearness returns what says how near the process above both is: the more, the nearer; 0: there is none. While one of the
// candidates is adrift, it says nothing: that one may have begun nearest of all.
func nearness(of Place, among []Place, candidates []int) func(Place) int {
	if slices.ContainsFunc(candidates, func(i int) bool { return among[i].adrift }) {
		return func(Place) int { return 0 }
	}
	return func(p Place) int {
		for i, above := range of.above {
			if slices.Contains(p.above, above) {
				return len(of.above) - i
			}
		}
		return 0
	}
}

// Holder is a process that holds a socket.
type Holder struct {
	process
	inode uint32
	fd    string
}

// Place returns where the holder stands; false: it is not the user's, or does not hold the socket any more. That is looked at
// after all else was read: a pid, or the number of a descriptor, may be another's by then.
func (h Holder) Place(user cardbroker.UserID) (Place, bool) {
	place, ok := PlaceOf(h.pid, user)
	return place, ok && h.Holds()
}

// Holds says whether the process is there and still holds the socket under the same descriptor.
func (h Holder) Holds() bool {
	link, err := os.Readlink(h.path())
	return err == nil && link == socketName(h.inode) && h.lives()
}

func (h Holder) path() string { return "/proc/" + strconv.Itoa(h.pid) + "/fd/" + h.fd }

func socketName(inode uint32) string { return "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]" }

// maxDescriptors is how many descriptors of one user a walk looks at. Of who has more nothing is found: with half of his
// processes unseen, an answer would be a guess.
const maxDescriptors = 1 << 15

// maxHolders is how many descriptors may hold one socket: each is looked at whenever somebody asks, and is kept meanwhile. Of one with
// more nothing is found.
const maxHolders = 256

// Holders returns which processes hold the sockets with these inodes: of each socket's user only, and only such as this
// process may look into. The kernel does not say, so it takes a walk through /proc, one for all sockets: some milliseconds.
func Holders(sockets map[uint32]cardbroker.UserID) map[uint32][]Holder {
	wanted := make(map[string]uint32, len(sockets))
	left := make(map[uint32]int) // of each user's descriptors
	for inode, user := range sockets {
		wanted[socketName(inode)] = inode
		left[user.UID] = maxDescriptors
	}
	found := make(map[uint32][]Holder)
	for _, pid := range processes() {
		uid, ok := folderOwner(pid)
		if !ok || left[uid] <= 0 {
			continue
		}
		fds := names("/proc/" + strconv.Itoa(pid) + "/fd")
		left[uid] -= len(fds)
		for _, fd := range fds {
			h := Holder{process: process{pid: pid}, fd: fd}
			link, _ := os.Readlink(h.path())
			if h.inode, ok = wanted[link]; !ok || sockets[h.inode].UID != uid || len(found[h.inode]) > maxHolders {
				continue
			}
			if now, err := readStat(pid); err == nil { // another process by now? Place looks whether that holds it
				h.process = now.process
				found[h.inode] = append(found[h.inode], h)
			}
		}
	}
	for inode, user := range sockets {
		if left[user.UID] <= 0 || len(found[inode]) > maxHolders {
			delete(found, inode)
		}
	}
	return found
}

// processes returns the pids of all processes.
func processes() (pids []int) {
	for _, name := range names("/proc") {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// names returns what is in a directory, in no order; nothing if it may not be read.
func names(path string) []string {
	dir, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer dir.Close()
	found, _ := dir.Readdirnames(-1)
	return found
}
