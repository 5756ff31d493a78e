// Which step is shown, and of a long text which part.
const Steps = (() => {
  "use strict";

  const { say } = Words;
  const { goesOn } = Traces;
  const { windowName } = Sentences;
  const { clamp } = Scenes;

  // Slider, buttons and playing: which step is shown, from 0 to `last`. People read them `offset` later.
  class StepControl {
    // `root` contains .rm-steps; `onStep` is called after every change of the step.
    constructor(root, onStep) {
      this.onStep = onStep;
      this.step = 0;
      this.last = -1;
      this.offset = 0;
      this.playing = 0;
      const find = (selector) => root.querySelector(".rm-steps " + selector);
      this.slider = find("input");
      this.number = find(".rm-number");
      this.token = find(".rm-token");
      this.speed = find("select");
      this.playButton = find("[data-do=play]");
      this.slider.addEventListener("input", () => this.jump(Number(this.slider.value)));
      root.querySelector(".rm-steps").addEventListener("click", (event) => this.onButton(event));
    }

    setLast(last, offset) {
      this.offset = offset;
      this.last = this.slider.max = last;
      this.step = clamp(this.step, 0, last);
    }

    go(step) {
      const next = clamp(step, 0, Math.max(0, this.last));
      if (next === this.step) return;
      this.step = next;
      this.onStep();
    }

    jump(step) {
      this.pause();
      this.go(step);
    }

    pause() {
      cancelAnimationFrame(this.playing);
      this.playing = 0;
      this.showPlaying();
    }

    play() {
      if (this.step === this.last) this.go(0);
      let due = 0;
      let last = performance.now();
      const tick = (now) => {
        due += ((now - last) * Number(this.speed.value)) / 1000;
        last = now;
        const whole = Math.floor(due);
        due -= whole;
        if (whole) this.go(this.step + whole);
        if (this.step === this.last) return this.pause();
        this.playing = requestAnimationFrame(tick);
      };
      this.playing = requestAnimationFrame(tick);
      this.showPlaying();
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    showPlaying() {
      this.playButton.classList.toggle("rm-playing", this.playing !== 0);
      this.playButton.setAttribute("aria-label", this.playing ? say("Pause") : say("Play"));
    }

    onButton(event) {
      const button = event.target.closest("button[data-do]");
      if (!button || this.last < 0) return;
      const { step, last } = this;
      const steps = { first: 0, previous: step - 1, next: step + 1, last };
      if (button.dataset.do === "play") this.toggle();
      else this.jump(steps[button.dataset.do]);
    }

    // Whether the key was one of ours.
    onKey({ key, shiftKey, target }) {
      const by = shiftKey ? 10 : 1;
      const steps = { ArrowLeft: this.step - by, ArrowRight: this.step + by, Home: 0, End: this.last };
      if (key in steps) {
        this.jump(steps[key]);
        return true;
      }
      if (key !== " " || target.matches("button, [type=checkbox]")) return false;
      this.toggle();
      return true;
    }

    // `name` is the token of the step, in words.
    draw(name) {
      const { step, last, offset, slider } = this;
      slider.value = step;
      const where = { step: offset + step, last: offset + last, token: name };
      const words = name ? say("{step} of {last}, {token}", where) : say("{step} of {last}", where);
      slider.setAttribute("aria-valuetext", words);
      this.number.textContent = offset + step + " / " + (offset + last);
      this.token.textContent = name;
    }
  }

  // Of a text too long to be shown whole: which part is shown, and the way to the parts beside it.
  class WindowControl {
    // `root` contains .rm-window; `onAsk` gets a position in the whole text that the wanted part contains.
    constructor(root, onAsk) {
      this.box = root.querySelector(".rm-window");
      this.name = this.box.querySelector("p");
      [this.previous, this.next] = this.box.querySelectorAll("button");
      this.previous.addEventListener("click", () => onAsk(this.trace.start - 1));
      this.next.addEventListener("click", () => onAsk(this.trace.start + this.trace.total));
    }

    setTrace(trace) {
      this.trace = trace;
      this.previous.disabled = trace.start === 0;
      this.next.disabled = !goesOn(trace);
      this.box.hidden = this.previous.disabled && this.next.disabled;
      this.name.textContent = windowName(trace);
    }
  }

  return { StepControl, WindowControl };
})();
