// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// chromiums are the browsers of that kind: where their machine policy is, and their profiles below the user's home.
func chromiums() [][3]string {
	return [][3]string{
		{"Chromium", "/etc/chromium/policies/managed", ".config/chromium"},
		{"Chrome", "/etc/opt/chrome/policies/managed", ".config/google-chrome"},
		{"Edge", "/etc/opt/edge/policies/managed", ".config/microsoft-edge"},
	}
}

// maxFile is how much of a browser's file is read, in bytes.
const maxFile = 16 << 20

// readFile reads a browser's file. What is none, but a pipe or a device that never ends, is not read: doctor may look at others' files.
func readFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s is no file of a browser's", path)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

func readJSON(path string, v any) bool {
	text, err := readFile(path)
	return err == nil && json.Unmarshal(text, v) == nil
}

// managed returns machine policy of a browser: the files of a directory in the order of their names.
func managed(dir string) map[string]any {
	all := map[string]any{}
	files, _ := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, file := range files {
		var said map[string]any
		if readJSON(file, &said) {
			for key, value := range said {
				all[key] = value
			}
		}
	}
	return all
}

func words(v any) (list []string) {
	items, _ := v.([]any)
	for _, item := range items {
		if text, ok := item.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// browsers reads what policy and users say of pages that want to reach this host.
func browsers(cfg Config) (found []Browser) {
	for _, b := range chromiums() {
		policy := managed(cfg.Root + b[1])
		browser := Browser{Name: b[0]}
		browser.Blocked = append(words(policy["LoopbackNetworkBlockedForUrls"]), words(policy["LocalNetworkAccessBlockedForUrls"])...)
		browser.Allowed = append(words(policy["LoopbackNetworkAllowedForUrls"]), words(policy["LocalNetworkAccessAllowedForUrls"])...)
		profiles, _ := filepath.Glob(filepath.Join(cfg.Home, b[2], "*", "Preferences"))
		for _, file := range profiles {
			browser.Refused = append(browser.Refused, refused(file)...)
		}
		found = append(found, browser)
	}
	return found
}

// blocked is CONTENT_SETTING_BLOCK in a profile of Chromium's.
const blocked = 2

// refused returns the pages that a profile denies the permission to.
func refused(file string) (pages []string) {
	var preferences struct {
		Profile struct {
			Settings struct {
				Exceptions map[string]map[string]struct {
					Setting any `json:"setting"`
				} `json:"exceptions"`
			} `json:"content_settings"`
		} `json:"profile"`
	}
	if !readJSON(file, &preferences) {
		return nil
	}
	for kind, pagesOf := range preferences.Profile.Settings.Exceptions {
		if kind != "loopback_network" && kind != "local_network" && kind != "local_network_access" {
			continue
		}
		for page, said := range pagesOf {
			if number, ok := said.Setting.(float64); ok && number == blocked {
				page, _, _ = strings.Cut(page, ",")
				pages = append(pages, page)
			}
		}
	}
	slices.Sort(pages)
	return slices.Compact(pages)
}

// proxies lists the settings that could take connections to this host away.
func proxies(ctx context.Context, cfg Config) (found []Proxy) {
	exempt := cfg.Getenv("no_proxy") + "," + cfg.Getenv("NO_PROXY")
	for _, name := range []string{"http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		if cfg.Getenv(name) != "" {
			found = append(found, Proxy{Where: name + " in the environment, which no_proxy does not exempt localhost and 127.0.0.1 from", Takes: !exempts(exempt)})
		}
	}
	for _, b := range chromiums() {
		found = append(found, chromiumProxy(b[0], managed(cfg.Root+b[1]))...)
	}
	found = append(found, firefoxProxies(cfg)...)
	return append(found, gnomeProxy(ctx, cfg)...)
}

// exempts says whether a no_proxy list exempts this host by both its names.
func exempts(list string) bool {
	names := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(names, "*") {
		return true
	}
	address := slices.ContainsFunc(names, func(n string) bool { return n == "127.0.0.1" || strings.HasPrefix(n, "127.0.0.") || n == "127.0.0.0/8" })
	return address && slices.Contains(names, "localhost")
}

// chromiumProxy reads a browser's policy. It exempts this host from proxy and PAC file by itself, unless "<-loopback>" says otherwise.
func chromiumProxy(name string, policy map[string]any) (found []Proxy) {
	said, _ := policy["ProxySettings"].(map[string]any)
	get := func(key string) string {
		if text, ok := said[key].(string); ok {
			return text
		}
		text, _ := policy[key].(string)
		return text
	}
	mode := get("ProxyMode")
	if mode == "" && get("ProxyServer") == "" && get("ProxyPacUrl") == "" || mode == "direct" || mode == "system" {
		return nil
	}
	return []Proxy{{Where: "machine policy of " + name + " (ProxyMode, ProxyBypassList)", Takes: strings.Contains(get("ProxyBypassList"), "<-loopback>"), Page: true}}
}

// hijacks is the preference by which Firefox takes this host to a proxy, too.
const hijacks = "network.proxy.allow_hijacking_localhost"

// firefoxProxies reads policy and profiles of Firefox.
func firefoxProxies(cfg Config) (found []Proxy) {
	for _, file := range []string{"/etc/firefox/policies/policies.json", "/usr/lib/firefox/distribution/policies.json", "/usr/lib/firefox-esr/distribution/policies.json"} {
		var said struct {
			Policies struct {
				Proxy struct {
					Mode string
				}
				Preferences map[string]any
			} `json:"policies"`
		}
		if !readJSON(cfg.Root+file, &said) {
			continue
		}
		text, _ := json.Marshal(said.Policies.Preferences[hijacks])
		takes := strings.Contains(string(text), "true")
		if mode := said.Policies.Proxy.Mode; mode != "" && mode != "none" && mode != "system" || takes {
			found = append(found, Proxy{Where: "machine policy of Firefox (" + file + ")", Takes: takes, Page: true})
		}
	}
	files, _ := filepath.Glob(filepath.Join(cfg.Home, ".mozilla/firefox/*/prefs.js"))
	for _, file := range files {
		text, _ := readFile(file)
		takes := strings.Contains(string(text), `user_pref("`+hijacks+`", true)`)
		if strings.Contains(string(text), `user_pref("network.proxy.type", 1)`) || strings.Contains(string(text), `user_pref("network.proxy.type", 2)`) {
			found = append(found, Proxy{Where: "Firefox (" + file + ")", Takes: takes, Page: true})
		}
	}
	return found
}

// gnomeLimit is how long the desktop may take to say its settings.
const gnomeLimit = 2 * time.Second

// gnomeProxy asks the desktop, where it has gsettings.
func gnomeProxy(ctx context.Context, cfg Config) []Proxy {
	ctx, cancel := context.WithTimeout(ctx, gnomeLimit)
	defer cancel()
	get := func(key string) string {
		cmd := exec.CommandContext(ctx, cfg.Root+"/usr/bin/gsettings", "get", "org.gnome.system.proxy", key)
		cmd.WaitDelay = time.Second
		text, _ := cmd.Output()
		return strings.Trim(strings.TrimSpace(string(text)), "'")
	}
	switch get("mode") {
	case "manual":
		list := strings.NewReplacer("[", "", "]", "", "'", "").Replace(get("ignore-hosts"))
		return []Proxy{{Where: "the desktop's proxy (gsettings org.gnome.system.proxy ignore-hosts)", Takes: !exempts(list)}}
	case "auto":
		return []Proxy{{Where: "the desktop's PAC file (gsettings org.gnome.system.proxy autoconfig-url)"}}
	}
	return nil
}

// security lists products that inspect connections, by their directories.
func security(root string) (found []string) {
	for _, p := range [][2]string{
		{"/opt/kaspersky", "Kaspersky"}, {"/opt/eset", "ESET"}, {"/opt/sophos-spl", "Sophos"}, {"/opt/CrowdStrike", "CrowdStrike Falcon"},
		{"/opt/sentinelone", "SentinelOne"}, {"/opt/McAfee", "Trellix"}, {"/opt/isec", "Trellix"}, {"/opt/microsoft/mdatp", "Microsoft Defender"},
		{"/opt/bitdefender-security-tools", "Bitdefender"}, {"/opt/drweb.com", "Dr.Web"}, {"/opt/Symantec", "Symantec"}, {"/opt/f-secure", "WithSecure"},
		{"/opt/zscaler", "Zscaler"}, {"/opt/ds_agent", "Trend Micro"}, {"/usr/bin/opensnitchd", "OpenSnitch"}, {"/opt/cisco/secureclient", "Cisco Secure Client"},
	} {
		if _, err := os.Stat(root + p[0]); err == nil && !slices.Contains(found, p[1]) {
			found = append(found, p[1])
		}
	}
	return found
}
