import { describeScenes } from '../support/scenes/describe-scenes.ts';

describeScenes({ proxy: 'embedded', pool: '127.76.0.0/17', pods: '127.88.76', takenPort: 18_476 });
