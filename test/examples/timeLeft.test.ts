import {TimeLeft} from '../../examples/shared/timeLeft';

test('the time left follows from the steps so far, and each training starts from zero', () => {
  let time = 0;
  const left = new TimeLeft(() => time);
  const after = (seconds: number, step: number) => {
    time += 1000 * seconds;
    return left.text(step, 40);
  };
  expect(after(60, 1)).toBe(''); // what came before the first step says nothing
  expect(after(7, 2)).toBe(', about 4 min left'); // 38 · 7 s = 266 s
  expect(after(21, 5)).toBe(', about 4 min left'); // 35 · 7 s = 245 s
  expect(after(7 * 23, 28)).toBe(', about 84 s left'); // 12 · 7 s
  expect(after(7 * 12, 40)).toBe('');
  expect(after(7, 1)).toBe('');
  expect(after(0.5, 2)).toBe(', about 19 s left');
});
