package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
)

// subject is a program that tests run: it says what comes to it, line by line.
func subject() {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	lines := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	fmt.Println("ready", os.Getenv("SECRET"))
	for {
		select {
		case s := <-signals:
			fmt.Println("signal", s)
		case line := <-lines:
			switch line {
			case "end":
				os.Exit(9)
			}
		}
	}
}

