// The window of chat_qml.py. Plain text: QML's MarkdownText would load the images that an answer names.
import QtQuick
import QtQuick.Controls
import QtQuick.Layouts

ApplicationWindow {
    property bool follows: true

    width: 560
    height: 640
    visible: true
    title: "rxllm chat"

    ColumnLayout {
        anchors.fill: parent
        anchors.margins: 8

        ListView {
            id: list
            objectName: "list"
            Layout.fillWidth: true
            Layout.fillHeight: true
            clip: true
            spacing: 8
            model: messages
            onMovementEnded: follows = atYEnd
            onContentHeightChanged: if (follows) positionViewAtEnd()

            delegate: Label {
                required property string sender
                required property string status
                required property string error
                required text

                width: ListView.view.width
                wrapMode: Text.Wrap
                textFormat: Text.PlainText
                color: error ? "firebrick" : palette.windowText
                Component.onCompleted: font.bold = sender === "user"
            }
        }

        RowLayout {
            TextField {
                id: input
                objectName: "input"
                Layout.fillWidth: true
                placeholderText: "Say something"
                onAccepted: if (text.trim() && !chat.running) { chat.send(text); clear() }
            }
            Button {
                objectName: "stop"
                text: "Stop"
                enabled: chat.running
                onClicked: chat.stop()
            }
        }
    }
}
