// Copyright 2026 The cardbroker authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package chromium

import (
	"encoding/json"
	"fmt"
	"time"
)

// maxTold is how many complaints of one page are kept.
const maxTold = 64

// Page is a tab.
type Page struct {
	browser *Browser
	target  string
	session string
	loaded  string // the last document whose load event was
	told    []string
	crashed bool // its process has ended
}

// Open opens a tab with a page and waits until it has loaded.
func (b *Browser) Open(url string) (*Page, error) {
	p := &Page{browser: b}
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.call(callTimeout, "", "Target.createTarget", object{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	p.target = target.ID
	if err := p.attach(); err != nil {
		return nil, err
	}
	return p, p.Load(url)
}

// Frame returns a page of another site that is in a frame of some page, by its address.
func (b *Browser) Frame(url string) (*Page, error) {
	var list struct {
		Targets []struct {
			ID   string `json:"targetId"`
			Type string `json:"type"`
			URL  string `json:"url"`
		} `json:"targetInfos"`
	}
	if err := b.call(callTimeout, "", "Target.getTargets", nil, &list); err != nil {
		return nil, err
	}
	for _, target := range list.Targets {
		if target.Type == "iframe" && target.URL == url {
			p := &Page{browser: b, target: target.ID}
			return p, p.attach()
		}
	}
	return nil, fmt.Errorf("no frame has %s", url)
}

// attach opens the protocol's session with the page.
func (p *Page) attach() error {
	var attached struct {
		Session string `json:"sessionId"`
	}
	if err := p.browser.call(callTimeout, "", "Target.attachToTarget", object{"targetId": p.target, "flatten": true}, &attached); err != nil {
		return err
	}
	p.session = attached.Session
	p.browser.pages[p.session] = p
	for _, domain := range []string{"Inspector", "Page", "Network", "Log", "Runtime"} {
		if err := p.browser.call(callTimeout, p.session, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return p.browser.call(callTimeout, p.session, "Page.setLifecycleEventsEnabled", object{"enabled": true}, nil)
}

// Load goes to another address and waits until it has loaded; what has no answer is an error.
func (p *Page) Load(url string) error {
	var document struct {
		ID    string `json:"loaderId"`
		Error string `json:"errorText"`
	}
	if err := p.browser.call(callTimeout, p.session, "Page.navigate", object{"url": url}, &document); err != nil {
		return err
	}
	if document.Error != "" {
		return fmt.Errorf("loading %s: %s", url, document.Error)
	}
	for deadline := time.Now().Add(callTimeout); p.loaded != document.ID; {
		if _, err := p.browser.next(deadline, p); err != nil {
			return fmt.Errorf("loading %s: %w", url, err)
		}
	}
	return nil
}

// Run runs a script as the page's own: an expression, whose value is waited for if it is a promise, and is decoded as JSON.
func (p *Page) Run(script string, value any) error {
	var outcome struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := p.browser.call(callTimeout, p.session, "Runtime.evaluate",
		object{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &outcome)
	if err != nil {
		return fmt.Errorf("%.80s: %w", script, err)
	}
	if e := outcome.Exception; e != nil {
		return fmt.Errorf("%.80s: %s %s", script, e.Text, e.Exception.Description)
	}
	if value == nil || outcome.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(outcome.Result.Value, value)
}

// Screenshot returns what the page looks like in a window of that size, in points, as PNG. The size stays.
func (p *Page) Screenshot(width, height int) ([]byte, error) {
	size := object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}
	if err := p.browser.call(callTimeout, p.session, "Emulation.setDeviceMetricsOverride", size, nil); err != nil {
		return nil, err
	}
	var shot struct {
		Data []byte `json:"data"`
	}
	err := p.browser.call(callTimeout, p.session, "Page.captureScreenshot", object{"format": "png"}, &shot)
	return shot.Data, err
}

// Dark has the page look as on a dark desktop.
func (p *Page) Dark() error {
	dark := []object{{"name": "prefers-color-scheme", "value": "dark"}}
	return p.browser.call(callTimeout, p.session, "Emulation.setEmulatedMedia", object{"features": dark}, nil)
}

// Told returns what the browser has complained of on the page since it was last asked: failed requests, and its console.
func (p *Page) Told() []string {
	told := p.told
	p.told = nil
	return told
}

// Close closes the tab.
func (p *Page) Close() error {
	delete(p.browser.pages, p.session)
	return p.browser.call(callTimeout, "", "Target.closeTarget", object{"targetId": p.target}, nil)
}

// hear takes an event.
func (p *Page) hear(m message) {
	var e struct {
		Name          string `json:"name"`
		Document      string `json:"loaderId"`
		ErrorText     string `json:"errorText"`
		BlockedReason string `json:"blockedReason"`
		Entry         struct {
			Text string `json:"text"`
		} `json:"entry"`
		CORS struct {
			Error string `json:"corsError"`
		} `json:"corsErrorStatus"`
		ErrorMessage string `json:"errorMessage"`
	}
	if json.Unmarshal(m.event, &e) != nil {
		return
	}
	text := ""
	switch m.Method {
	case "Inspector.targetCrashed":
		p.crashed = true
	case "Page.lifecycleEvent":
		if e.Name == "load" {
			p.loaded = e.Document
		}
	case "Network.loadingFailed":
		text = "failed: " + e.ErrorText + " " + e.BlockedReason + e.CORS.Error
	case "Network.webSocketFrameError":
		text = "WebSocket: " + e.ErrorMessage
	case "Log.entryAdded":
		text = e.Entry.Text
	}
	if text != "" && len(p.told) < maxTold {
		p.told = append(p.told, text)
	}
}
