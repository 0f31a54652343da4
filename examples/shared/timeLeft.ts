/** Estimates how long a training will still take, from the time that its steps have taken so far. */
export class TimeLeft {
  private first = {done: Infinity, at: 0};

  /** @param now the time in milliseconds. */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /**
   * What to add to a line about a step, such as `, about 4 min left`. Nothing at the first step, when no time is known,
   * and at the last one.
   */
  text(done: number, total: number): string {
    if (done <= this.first.done) {
      this.first = {done, at: this.now()}; // another training
      return '';
    }
    const perStep = (this.now() - this.first.at) / (done - this.first.done);
    const seconds = Math.ceil((perStep * (total - done)) / 1000);
    if (seconds === 0) {
      return '';
    }
    return `, about ${seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`} left`;
  }
}
