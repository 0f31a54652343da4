import {make} from '../dom';
import {closeWebcam, openWebcam, pictureOfVideo} from '../picture';
import {button} from './controls';

/** A place for the webcam, which is shown while it is used. */
export class Webcam {
  readonly element: HTMLElement;
  private readonly video = make('video', {id: 'video', muted: true, playsInline: true});
  private onPicture: (picture: HTMLCanvasElement) => void = () => undefined;

  constructor(size: number) {
    this.element = make(
      'div',
      {id: 'camera', hidden: true},
      this.video,
      make(
        'div',
        {className: 'row'},
        button('Take photo', () => this.onPicture(pictureOfVideo(this.video, size)), {id: 'take'}),
        button('Close webcam', () => this.close(), {id: 'close-camera', kind: 'quiet', whileBusy: () => true}),
      ),
    );
  }

  /** Opens the webcam, and returns what to say. */
  async open(onPicture: (picture: HTMLCanvasElement) => void): Promise<string> {
    this.onPicture = onPicture;
    this.element.hidden = false;
    try {
      await openWebcam(this.video);
    } catch (error) {
      this.element.hidden = true;
      throw new Error(`The webcam cannot be used: ${(error as Error).message}`, {cause: error});
    }
    return 'Hold something up, and take photos of it from several sides.';
  }

  private close(): void {
    closeWebcam(this.video);
    this.element.hidden = true;
  }
}
