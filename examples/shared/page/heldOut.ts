/** Whether a sample is held out, by its position in its class: every third is. */
export function isHeldOut(position: number): boolean {
  return position % 3 === 2;
}
