package node

import (
	"os"
	"testing"
	"time"
)

func TestStart(t *testing.T) {
	c, err := Start(t.Context(), Options{Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := time.ParseDuration(os.Getenv("HOLD")); err == nil {
		t.Log(c.Kubeconfig)
		time.Sleep(d)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
}
