// A pod's view of the cluster, over HTTP: files of a volume, names, and other addresses.
//
//	PUT  /files/NAME        keep the body under /data
//	GET  /files/NAME        give it back
//	GET  /files             the names that are there, one a line
//	GET  /lookup?name=NAME  what the pod's resolver says, one address a line
//	GET  /fetch?url=URL     what the pod gets from there
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const volume = "/data"

func fail(writer http.ResponseWriter, err error) {
	http.Error(writer, err.Error(), http.StatusBadGateway)
}

func file(writer http.ResponseWriter, request *http.Request) {
	path := filepath.Join(volume, filepath.Base(request.URL.Path))
	if request.Method == http.MethodPut {
		content, err := io.ReadAll(request.Body)
		if err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			fail(writer, err)
		}
		return
	}
	http.ServeFile(writer, request, path)
}

func files(writer http.ResponseWriter, _ *http.Request) {
	entries, err := os.ReadDir(volume)
	if err != nil {
		fail(writer, err)
		return
	}
	for _, entry := range entries {
		io.WriteString(writer, entry.Name()+"\n")
	}
}

func lookup(writer http.ResponseWriter, request *http.Request) {
	addresses, err := net.DefaultResolver.LookupHost(request.Context(), request.FormValue("name"))
	if err != nil {
		fail(writer, err)
		return
	}
	for _, address := range addresses {
		io.WriteString(writer, address+"\n")
	}
}

func fetch(writer http.ResponseWriter, request *http.Request) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(request.FormValue("url"))
	if err != nil {
		fail(writer, err)
		return
	}
	defer response.Body.Close()
	io.Copy(writer, response.Body)
}

func main() {
	http.HandleFunc("/files/", file)
	http.HandleFunc("/files", files)
	http.HandleFunc("/lookup", lookup)
	http.HandleFunc("/fetch", fetch)
	http.HandleFunc("/", func(writer http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		io.WriteString(writer, name+"\n")
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
